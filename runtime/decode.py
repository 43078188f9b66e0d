"""Turns the bytes of an image file into pixels and the metadata that belong to them.

Pillow reads every header and most pixels. OpenCV reads those of JPEG, 1.6 times as fast and with the same values, and
those of 16 bits, which Pillow would cut to 8.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from .cmyk import Ink
from .errors import ImageError
from .exif import DESCRIPTIVE, EXIF_DIRECTORIES, PREFIX
from .heif import container_of, prepare_reader
from .opencv import silent

Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]

# A scan of 100 megapixels is a photograph; what is much larger is a mistake or an attack (docs/photos.md: memory).
MOST_PIXELS = 160_000_000
# Pillow stops at 1 MiB of unpacked profile; those of scanners and presses can be larger. The sum of all chunks of text
# stays bounded (64 MiB).
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, 16 << 20)
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
_FIX = "convert it to PNG or JPEG first"
# Pillow's modes -> the one of ours that holds all they say; 1, 2, 3 or 4 channels.
_MODES = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA",
    "RGBa": "RGBA", "YCbCr": "RGB",
}  # fmt: skip
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
# In compressed data 0xff is followed by 0 or a restart marker; anything else ends the scan.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_JPEG_END = bytes((0xFF, _END_OF_IMAGE))
_PNG_BIT_DEPTH = 24  # behind the signature (8), the length (4), "IHDR" (4), width and height
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


@dataclass(frozen=True, eq=False)
class Raster:
    """Pixels as a file holds them, and what the file says about them.

    Args:
        pixels: (H, W, C) uint8 or uint16; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA), alpha not premultiplied.
        icc: colour profile of these pixels, or None.
        exif: EXIF block without its prefix, or None; its orientation is not applied yet.
        dpi: pixels per inch, horizontally and vertically, or None.
        subsampling: a JPEG's colour resolution: 0 full, 1 half in width, 2 half in width and height; None for others.
        ink: what a CMYK file holds, whose colours in sRGB the pixels then are; None for others.
    """

    pixels: Pixels
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    subsampling: int | None = None
    ink: Ink | None = None


def decode(content: bytes, name: str) -> Raster:
    """Decode a whole image file.

    Args:
        content: JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF, or HEIC with the extra `heic`; 8 or 16 bits a channel.
        name: of the file, for messages.

    Raises:
        ImageError: not an image, damaged, truncated, an animation, above MOST_PIXELS, or samples that are neither 8 nor
            16 bits.
    """
    if not content:
        raise ImageError("an image", f"the empty file {name}")
    try:
        with warnings.catch_warnings():  # damage that Pillow can live with, and sizes that it finds suspicious
            warnings.simplefilter("ignore")
            return _decode(content, name)
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"an image ({', '.join(_FORMATS)}, AVIF, HEIC)", f"something else, or only its beginning, in {name}", _FIX
        ) from error
    except Exception as error:  # decoders raise whatever damaged data leads them to
        raise ImageError("a whole image", f"{name}: {_one_line(error)}", "copy it again from its source") from error


def _decode(content: bytes, name: str) -> Raster:
    container = container_of(content)
    if container is not None:
        prepare_reader(container, content, name)
    image = Image.open(io.BytesIO(content), formats=_FORMATS if container is None else (container,))
    _check_size(image, name)
    is_jpeg = image.format in ("JPEG", "MPO")  # MPO: a JPEG with more pictures behind it, as many cameras write
    pictures = getattr(image, "n_frames", 1)
    if not is_jpeg and pictures > 1:
        raise ImageError("a single photograph", f"{pictures} pictures in {name}", "extract one first")
    icc, ink = image.info.get("icc_profile") or None, None
    if _is_deep(image, content):
        pixels = _decode_deep(content, image, name)
    elif is_jpeg and image.mode in ("L", "RGB"):
        pixels = _decode_jpeg(content, image, name)
    elif image.mode == "CMYK":
        ink, icc = Ink(np.array(image), icc), None
        pixels = ink.shown()
    else:
        pixels = _decode_with_pillow(image, name)
    subsampling = JpegImagePlugin.get_sampling(image) if is_jpeg and image.mode == "RGB" else -1
    sampling = subsampling if subsampling >= 0 else None
    return Raster(pixels, icc, _exif_of(image), _dpi_of(image), sampling, ink)


def _check_size(image: Image.Image, name: str) -> None:
    """Refuse by the header, before any pixel is decoded, what would not fit into memory or has a depth we would cut."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        least = f"a photograph of at most {MOST_PIXELS // 1_000_000} megapixels"
        raise ImageError(least, f"{width} x {height} in {name}", "shrink or cut it first")
    if image.info.get("bit_depth", 8) > 8:  # told by HEIF alone
        raise ImageError("HEIC of 8 bits", f"{image.info['bit_depth']} in {name}", "convert it to 16-bit PNG first")


def _is_deep(image: Image.Image, content: bytes) -> bool:
    """Whether samples have 16 bits; by what the header says, never by values."""
    if image.format == "PNG":
        return content[_PNG_BIT_DEPTH] == 16
    return max(_tiff_tags(image).get(_BITS_PER_SAMPLE, (1,))) == 16


def _tiff_tags(image: Image.Image) -> Any:
    """The first directory of a TIFF; empty for other formats."""
    return getattr(image, "tag_v2", {})


def _decode_jpeg(content: bytes, image: Image.Image, name: str) -> NDArray[np.uint8]:
    if not _is_complete_jpeg(content):  # OpenCV would return a picture with a grey rest
        raise ImageError("a whole JPEG", f"a truncated one in {name}", "copy it again from its source")
    mode = cv2.IMREAD_GRAYSCALE if image.mode == "L" else cv2.IMREAD_COLOR_RGB
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ImageError("a whole JPEG", f"a damaged one in {name}", "copy it again from its source")
    if pixels.ndim == 2:
        return pixels[:, :, None].astype(np.uint8, copy=False)
    return pixels.astype(np.uint8, copy=False)


def _is_complete_jpeg(content: bytes) -> bool:
    """Whether the first picture's end is there; thumbnails in its header have ends of their own, which do not count."""
    if content.endswith(_JPEG_END):
        return True
    place = 2  # something follows the picture, or its end is missing: walk from segment to segment
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == _END_OF_IMAGE:
            return True
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _START_OF_SCAN:
            found = _JPEG_MARKER.search(content, place)
            if found is None:
                return False
            place = found.end() - 2
    return False


def _decode_deep(content: bytes, image: Image.Image, name: str) -> NDArray[np.uint16]:
    if image.mode == "CMYK":
        raise ImageError("16-bit grey or RGB", f"16-bit CMYK in {name}", _FIX)
    if image.format == "PNG":
        Image.open(io.BytesIO(content)).verify()  # every chunk's checksum
    with silent():
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[1::-1] != image.size:
        raise ImageError("a whole 16-bit image", f"one that is damaged or of another kind in {name}", _FIX)
    pixels = pixels.astype(np.uint16, copy=False)
    if pixels.ndim == 2:
        white_is_zero = _tiff_tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO  # OpenCV heeds it in 8 bits only
        return (65535 - pixels if white_is_zero else pixels)[:, :, None]
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(pixels, code).astype(np.uint16, copy=False)


def _decode_with_pillow(image: Image.Image, name: str) -> NDArray[np.uint8]:
    mode = _MODES.get(image.mode)
    if mode is None:
        raise ImageError("8 or 16 bits a channel", f"samples of another kind ({image.mode}) in {name}", _FIX)
    image.load()
    if "transparency" in image.info:  # a colour or palette entry that stands for nothing
        mode = _WITH_ALPHA.get(mode, mode)
    pixels = np.array(image if image.mode == mode else image.convert(mode), np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _exif_of(image: Image.Image) -> bytes | None:
    if image.format == "TIFF":
        return _tiff_exif(image)
    block = image.info.get("exif")
    if not isinstance(block, bytes):
        return None
    return block.removeprefix(PREFIX) or None


def _tiff_exif(image: Image.Image) -> bytes | None:
    """In TIFF the EXIF tags stand among those that say how pixels are stored, which must not travel.

    Nor must the orientation: both decoders have turned the pixels of a TIFF, and of no other format.
    """
    found, kept = image.getexif(), Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in found:
            kept[tag] = found[tag]
    for tag in EXIF_DIRECTORIES:
        entries = found.get_ifd(tag)
        if entries:
            kept[tag] = entries
    return kept.tobytes().removeprefix(PREFIX) if len(kept) else None


def _dpi_of(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    if dpi is None or not all(0 < float(value) < 1e6 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])


def _one_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
