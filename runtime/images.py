"""Photographs: read upright, written back with what belongs to them.

A `Photo` is upright RGB in the depth that its file has. Orientation is applied on reading and recorded as applied.
Alpha, 16 bits, greyness, colour profile, EXIF and resolution survive; colours stay in the file's own colour space. XMP
does not survive.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .atomic import replacing_file
from .cmyk import Ink
from .decode import Pixels, Raster, decode
from .encode import encode, format_for
from .errors import ContractError, ImageError, OutputError
from .exif import make_upright, orientation_of, without_pictures
from .restorer import Faces

SMALLEST_SIDE = 16
# EXIF orientation, from 1 -> quarter turns counter-clockwise, then whether left and right change places.
_TURNS = ((0, False), (0, True), (2, False), (2, True), (3, True), (3, False), (1, True), (1, False))


@dataclass(frozen=True)
class Metadata:
    """What travels with the pixels.

    Args:
        icc: colour profile, or None.
        exif: EXIF block without its prefix, its orientation 1, or None.
        dpi: pixels per inch, horizontally and vertically, or None.
        subsampling: the colour resolution of the JPEG it was read from (`decode.Raster`), or None.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    subsampling: int | None = None


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright photograph.

    Args:
        rgb: (H, W, 3) uint8 or uint16; the type is the file's depth.
        alpha: (H, W) of the same type, or None; not premultiplied.
        grey: every pixel has three equal values, whether or not the file stored three.
        metadata: profile, EXIF, resolution.
        ink: upright inks of a CMYK photograph, whose colours in sRGB `rgb` was when it was read; None for others.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    metadata: Metadata = Metadata()
    ink: Ink | None = None

    def with_rgb(self, rgb: Pixels) -> Photo:
        """The same photograph with other pixels of the same shape and type.

        Raises:
            ContractError: another shape or type.
        """
        if rgb.shape != self.rgb.shape or rgb.dtype != self.rgb.dtype:
            raise ContractError(f"{self.rgb.dtype} {self.rgb.shape}", f"{rgb.dtype} {rgb.shape}")
        return replace(self, rgb=rgb)

    def with_private_metadata(self) -> Photo:
        """The same photograph without anything beside its colours that might show a face."""
        exif = self.metadata.exif
        kept = None if exif is None else without_pictures(exif)
        ink = None if self.ink is None else replace(self.ink, private=True)
        return replace(self, metadata=replace(self.metadata, exif=kept), ink=ink)


def read_photo(path: Path) -> Photo:
    """Read a JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF, or HEIC with the extra `heic`.

    Raises:
        ImageError: no such file, a pipe or device, not an image, damaged, truncated, smaller than 16 pixels, or above
            MOST_PIXELS.
    """
    raster = decode(_content_of(path), str(path))
    height, width, channels = raster.pixels.shape
    if min(height, width) < SMALLEST_SIDE:
        least = f"{SMALLEST_SIDE} x {SMALLEST_SIDE}"
        raise ImageError(f"a photograph of at least {least} pixels", f"{width} x {height} in {path}")
    pixels = turn_upright(raster.pixels, orientation_of(raster.exif))
    colour = channels - 1 + channels % 2
    rgb = np.repeat(pixels[:, :, :1], 3, axis=2) if colour == 1 else np.ascontiguousarray(pixels[:, :, :3])
    alpha = np.ascontiguousarray(pixels[:, :, -1]) if channels in (2, 4) else None
    exif = None if raster.exif is None else make_upright(raster.exif)
    metadata = Metadata(raster.icc, exif, raster.dpi, raster.subsampling)
    ink = raster.ink
    if ink is not None:
        ink = replace(ink, pixels=np.ascontiguousarray(turn_upright(ink.pixels, orientation_of(raster.exif))))
    return Photo(rgb, alpha, grey=colour == 1 or _is_grey(rgb), metadata=metadata, ink=ink)


def _content_of(path: Path) -> bytes:
    """A regular file's bytes; opening a pipe would wait for somebody to write to it."""
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder fails by itself, with a better reason
            raise ImageError("a regular file", f"a pipe, a socket or a device at {path}", "copy it to a file first")
        return path.read_bytes()
    except OSError as error:
        raise ImageError("a photograph", f"{path}: {error.strerror}") from error


def write_photo(photo: Photo, path: Path) -> None:
    """Write a photograph whole or not at all; the suffix decides the format.

    Grey photographs are written with one channel, unless their profile is one for colour. CMYK photographs stay CMYK in
    the formats that know it, with the very inks wherever the colour was not changed, and become sRGB in the others.

    Raises:
        OutputError: a place that cannot be written to, an unknown suffix, a format that lacks alpha or 16 bits, or a
            CMYK profile that is for showing alone.
    """
    about, ink = photo.metadata, photo.ink
    if ink is not None:
        ink = replace(ink, pixels=ink.showing(to_uint8(photo.rgb))) if format_for(path.suffix).ink else None
    one_channel = photo.grey and (about.icc is None or about.icc[16:20] == b"GRAY")
    channels = [photo.rgb[:, :, :1] if one_channel else photo.rgb]
    if photo.alpha is not None:
        channels.append(photo.alpha[:, :, None])
    pixels = np.ascontiguousarray(np.concatenate(channels, axis=2) if len(channels) > 1 else channels[0])
    content = encode(Raster(pixels, about.icc, about.exif, about.dpi, about.subsampling, ink), path.suffix)
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


def check_destination(path: Path, photo: Photo | None = None) -> None:
    """Find out before any work what is bound to fail afterwards.

    Args:
        path: where a photograph is to be written.
        photo: what is to be written; None where it is not read yet.

    Raises:
        OutputError: an unknown suffix, a folder of that name, a name that is too long, a format that cannot hold the
            photograph, or a CMYK profile that is for showing alone.
    """
    target = format_for(path.suffix)
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise OutputError("a file to write", f"the folder {path}", "add a file's name")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError("a file's name", f"{path}: {error.strerror}", "choose a shorter one") from error
    if photo is not None:
        target.check(photo.rgb.dtype, alpha=photo.alpha is not None)
        if photo.ink is not None and target.ink:
            photo.ink.check_return()


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror stored pixels (H, W, C) as an EXIF orientation from 1 to 8 asks; a view, not a copy."""
    turns, mirrored = _TURNS[orientation - 1]
    turned = np.rot90(pixels, turns)
    return turned[:, ::-1] if mirrored else turned


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """Pixels of 8 or 16 bits, by their type, as float32 in [0, 1]; same shape."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def to_faces(pictures: Sequence[Pixels]) -> Faces:
    """Aligned pictures (S, S, 3) RGB of one size and depth as faces under the contract: (N, 3, S, S) in [0, 1]."""
    return to_float(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))


def to_pixels(values: NDArray[np.float32], depth: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    """Values in [0, 1], rounded to the nearest level of a depth and clipped; same shape."""
    highest = np.iinfo(depth).max
    return np.clip(np.rint(values * np.float32(highest)), 0, highest).astype(depth)


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """Pixels of 8 or 16 bits as 8 bits, rounded; same shape."""
    if pixels.dtype == np.uint8:
        return cast("NDArray[np.uint8]", pixels)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _is_grey(rgb: Pixels) -> bool:
    """Whether all three channels are equal; a few pixels settle it for nearly every colour photograph."""
    for view in (rgb[::31, ::31], rgb):
        if not (np.array_equal(view[:, :, 0], view[:, :, 1]) and np.array_equal(view[:, :, 0], view[:, :, 2])):
            return False
    return True
