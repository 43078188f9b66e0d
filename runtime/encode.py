"""Turns pixels and their metadata into the bytes of an image file."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags, features

from .cmyk import Ink
from .decode import Pixels, Raster
from .errors import OutputError
from .exif import EXIF_DIRECTORIES, PREFIX

# At 95 a second compression is invisible; the rest of the photograph goes through it too.
_QUALITY = 95
# Pillow's number for a JPEG's colour resolution -> OpenCV's: full, half in width, half in width and height.
_SAMPLING = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
)
_LONGEST_SEGMENT, _ICC_PART = 65533, 65519
_AVIF_SPEED = 8  # of 10; the default takes ten times as long for 5 % smaller files
_METRES_PER_INCH = 0.0254
_PNG_HEADER = 33  # signature 8, IHDR 25
_TIFF_EFFORT = 3  # of 9; more costs seconds on a large photograph and saves 2 %

_WIDTH, _LENGTH, _BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES_PER_PIXEL, _ROWS_PER_STRIP, _STRIP_BYTE_COUNTS = 273, 277, 278, 279
_X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _RESOLUTION_UNIT = 282, 283, 284, 296
_PREDICTOR, _EXTRA_SAMPLES, _ICC = 317, 338, 34675
# Tags in EXIF blocks from JPEG files that speak of that file's storage, not of the photograph.
_LAYOUT = frozenset(range(254, 267)) | {273, 277, 278, 279, 282, 283, 284, 296, 317, 529, 530, 531, 532}


@dataclass(frozen=True)
class Format:
    """What a file format can hold.

    Args:
        name: for people.
        alpha: an alpha channel.
        deep: 16 bits a channel.
        ink: CMYK.
    """

    name: str
    alpha: bool
    deep: bool
    ink: bool = False

    def check(self, depth: np.dtype[Any], *, alpha: bool) -> None:
        """Make sure that nothing of a picture would be lost.

        Raises:
            OutputError: 16 bits or an alpha channel that the format cannot hold.
        """
        if depth == np.uint16 and not self.deep:
            raise OutputError("a format with 16 bits a channel", self.name, "write .png or .tiff, or convert the input")
        if alpha and not self.alpha:
            raise OutputError("a format with transparency", self.name, "write .png, .tiff or .webp")


_JPEG, _PNG = Format("JPEG", alpha=False, deep=False, ink=True), Format("PNG", alpha=True, deep=True)
_TIFF, _WEBP = Format("TIFF", alpha=True, deep=True, ink=True), Format("WebP", alpha=True, deep=False)
_AVIF = Format("AVIF", alpha=True, deep=False)
FORMATS = {
    ".jpg": _JPEG, ".jpeg": _JPEG, ".png": _PNG, ".tif": _TIFF, ".tiff": _TIFF, ".webp": _WEBP, ".avif": _AVIF,
}  # fmt: skip


def format_for(suffix: str) -> Format:
    """Return the format that a suffix stands for, in capitals or not.

    Raises:
        OutputError: a suffix that none is known for.
    """
    if suffix.lower() not in FORMATS:
        raise OutputError(f"an output ending in {', '.join(FORMATS)}", f"'{suffix}'", "choose another suffix")
    return FORMATS[suffix.lower()]


def encode(raster: Raster, suffix: str) -> bytes:
    """Encode an upright picture.

    Args:
        raster: what to write; of a CMYK photograph its ink, where the format can hold it.
        suffix: decides the format.

    Raises:
        OutputError: an unknown suffix, or a format that cannot hold the alpha channel or the 16 bits.
    """
    target = format_for(suffix)
    target.check(raster.pixels.dtype, alpha=raster.pixels.shape[2] in (2, 4))
    writers = {
        "JPEG": _encode_jpeg,
        "PNG": _encode_png,
        "TIFF": _encode_tiff,
        "WebP": _encode_webp,
        "AVIF": _encode_avif,
    }
    return writers[target.name](raster)


def _encode_jpeg(raster: Raster) -> bytes:
    """OpenCV compresses, 1.6 times as fast as Pillow; the segments that it leaves out are added."""
    if raster.ink is not None:
        return _encode_cmyk_jpeg(raster, raster.ink)
    sampling = _SAMPLING[0 if raster.subsampling is None else raster.subsampling]
    settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    written, content = cv2.imencode(".jpg", _to_bgr(raster.pixels), settings)
    if not written:
        raise OutputError("pixels that OpenCV writes as JPEG", str(raster.pixels.shape))
    data = content.tobytes()
    # Behind the start (2) OpenCV writes a JFIF segment, whose length (bytes 4 and 5) does not count its marker (2).
    rest = 4 + int.from_bytes(data[4:6], "big")
    dpi = (1, 1) if raster.dpi is None else [min(65535, max(1, round(value))) for value in raster.dpi]
    unit = 0 if raster.dpi is None else 1  # a ratio, or pixels per inch
    jfif = _segment(0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, unit, *dpi, 0, 0))
    return b"".join([data[:2], jfif, *_segments(raster.exif, raster.icc), data[rest:]])


def _encode_cmyk_jpeg(raster: Raster, ink: Ink) -> bytes:
    """Pillow compresses, as OpenCV has no CMYK. JFIF knows none either, so that EXIF must tell the resolution."""
    stream, exif = io.BytesIO(), raster.exif
    height, width = ink.pixels.shape[:2]
    Image.frombuffer("CMYK", (width, height), ink.pixels, "raw", "CMYK", 0, 1).save(stream, "JPEG", quality=_QUALITY)
    if exif is None and raster.dpi is not None:
        block = Image.Exif()
        block[_X_RESOLUTION], block[_Y_RESOLUTION] = raster.dpi
        block[_RESOLUTION_UNIT] = 2  # inch
        exif = block.tobytes().removeprefix(PREFIX)
    data = stream.getvalue()
    return b"".join([data[:2], *_segments(exif, ink.icc), data[2:]])


def _segments(exif: bytes | None, icc: bytes | None) -> list[bytes]:
    segments = [] if exif is None else [_segment(0xE1, PREFIX + exif)]
    if icc is not None:
        parts = [icc[start : start + _ICC_PART] for start in range(0, len(icc), _ICC_PART)]
        marks = [b"ICC_PROFILE\0" + bytes((number, len(parts))) for number in range(1, len(parts) + 1)]
        segments += [_segment(0xE2, mark + part) for mark, part in zip(marks, parts, strict=True)]
    return segments


def _segment(marker: int, content: bytes) -> bytes:
    if len(content) > _LONGEST_SEGMENT:
        raise OutputError(f"metadata of at most {_LONGEST_SEGMENT} bytes for JPEG", str(len(content)), "write .png")
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _encode_webp(raster: Raster) -> bytes:
    stream = io.BytesIO()
    _to_pillow(raster.pixels).save(stream, "WEBP", quality=_QUALITY, **_metadata(raster))
    return stream.getvalue()


def _encode_avif(raster: Raster) -> bytes:
    if not features.check("avif"):
        raise OutputError("a Pillow that writes AVIF", "one without", "run: pip install 'pillow>=11.3'")
    stream = io.BytesIO()
    picture = _to_pillow(raster.pixels)
    picture.save(stream, "AVIF", quality=_QUALITY, subsampling="4:4:4", speed=_AVIF_SPEED, **_metadata(raster))
    return stream.getvalue()


def _metadata(raster: Raster) -> dict[str, bytes]:
    """The arguments by which Pillow takes profile and EXIF."""
    given = {} if raster.icc is None else {"icc_profile": raster.icc}
    return given if raster.exif is None else {**given, "exif": PREFIX + raster.exif}


def _to_pillow(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _encode_png(raster: Raster) -> bytes:
    """OpenCV compresses, in 8 and 16 bits and twice as fast as Pillow; the chunks that it leaves out are added."""
    written, content = cv2.imencode(".png", _to_bgr(raster.pixels))
    if not written:
        raise OutputError("pixels that OpenCV writes as PNG", str(raster.pixels.shape))
    chunks = []
    if raster.icc is not None:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(raster.icc)))
    if raster.dpi is not None:
        per_metre = [round(value / _METRES_PER_INCH) for value in raster.dpi]
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if raster.exif is not None:
        chunks.append(_chunk(b"eXIf", raster.exif))
    data = content.tobytes()
    return b"".join([data[:_PNG_HEADER], *chunks, data[_PNG_HEADER:]])


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _to_bgr(pixels: Pixels) -> NDArray[Any]:
    """In OpenCV's order of channels; it has no grey with alpha."""
    if pixels.shape[2] == 1:
        return pixels
    if pixels.shape[2] == 2:
        return _spread_grey(pixels)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)


def _spread_grey(pixels: Pixels) -> Pixels:
    """Grey with alpha as RGBA."""
    return np.ascontiguousarray(pixels[:, :, (0, 0, 0, 1)])


def _encode_tiff(raster: Raster) -> bytes:
    """One deflated strip behind one directory; Pillow writes the directory, but no 16-bit colour.

    Source: TIFF 6.0 and Adobe's technical notes (deflate, horizontal predictor).
    """
    pixels = raster.pixels if raster.ink is None else raster.ink.pixels
    if pixels.shape[2] == 2 and pixels.dtype == np.uint16:  # which Pillow would not read back
        pixels = _spread_grey(pixels)
    # Unsigned differences wrap around, as the predictor asks.
    differences = np.diff(pixels, axis=1, prepend=np.zeros_like(pixels[:, :1]))
    strip = zlib.compress(differences.astype(differences.dtype.newbyteorder("<"), copy=False).tobytes(), _TIFF_EFFORT)
    height, width, channels = pixels.shape
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    _describe(raster, directory)
    layout: dict[int, object] = {
        _WIDTH: width,
        _LENGTH: height,
        _BITS_PER_SAMPLE: (pixels.dtype.itemsize * 8,) * channels,
        _COMPRESSION: 8,
        _PHOTOMETRIC: 5 if raster.ink is not None else 1 if channels < 3 else 2,  # separated, grey, RGB
        _STRIP_OFFSETS: (0,),  # from the directory's end, whose place Pillow adds
        _SAMPLES_PER_PIXEL: channels,
        _ROWS_PER_STRIP: height,
        _STRIP_BYTE_COUNTS: (len(strip),),
        _PLANAR: 1,
        _PREDICTOR: 2,
    }
    if channels in (2, 4) and raster.ink is None:
        layout[_EXTRA_SAMPLES] = 2  # alpha, not premultiplied
    directory.tagtype[_STRIP_OFFSETS] = TiffTags.LONG
    for tag, value in layout.items():
        directory[tag] = value
    stream = io.BytesIO()
    directory.save(stream)
    return stream.getvalue() + strip


def _describe(raster: Raster, directory: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Enter profile, resolution and EXIF, which in TIFF stand beside the layout."""
    if raster.exif is not None:
        exif = Image.Exif()
        exif.load(PREFIX + raster.exif)
        for tag in (tag for tag in exif if tag not in _LAYOUT):
            directory[tag] = exif.get_ifd(tag) if tag in EXIF_DIRECTORIES else exif[tag]
    if raster.dpi is not None:
        directory[_RESOLUTION_UNIT] = 2  # inch
        directory[_X_RESOLUTION], directory[_Y_RESOLUTION] = raster.dpi
    icc = raster.icc if raster.ink is None else raster.ink.icc
    if icc is not None:
        directory[_ICC] = icc
