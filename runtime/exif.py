"""Edits EXIF blocks where they stand, so that maker notes and everything else in them survive to the byte.

A block is a small TIFF file: byte order, then a directory of 12-byte entries (tag, type, count, value), then the place
of the next directory, which describes the thumbnail.

Source: CIPA DC-008 (EXIF 2.32) and TIFF 6.0, written from the specifications.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

PREFIX = b"Exif\0\0"
UPRIGHT = 1
# Entries of the first directory that refer to directories of their own: EXIF proper and GPS.
EXIF_DIRECTORIES = (0x8769, 0x8825)
# What a first directory says about the photograph and not about how its file stores it.
DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 33432)
# Maker notes, the user's comment and the interoperability directory.
_MAY_SHOW = (0x927C, 0x9286, 0xA005)
_ORIENTATION, _SHORT = 0x0112, 3
_HEADER = 8
_THUMBNAIL_PLACES, _THUMBNAIL_LENGTHS = (0x0201, 0x0111), (0x0202, 0x0117)
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


@dataclass(frozen=True)
class _Directory:
    """Where the first directory's parts lie; `value` is the place of the orientation, None where there is none."""

    order: str
    value: int | None
    next: int


def orientation_of(exif: bytes | None) -> int:
    """How the stored picture must be turned to be upright.

    Args:
        exif: the block without the prefix `Exif\\0\\0`, or None.

    Returns:
        1 (upright already) to 8, as EXIF numbers them; 1 where the block is absent, damaged or says nothing.
    """
    directory = _find(exif) if exif else None
    if exif is None or directory is None or directory.value is None:
        return UPRIGHT
    (value,) = struct.unpack_from(f"{directory.order}H", exif, directory.value)
    return value if 1 <= value <= 8 else UPRIGHT


def make_upright(exif: bytes) -> bytes:
    """Return the block for a picture that was turned upright and changed.

    The orientation becomes 1, and the thumbnail, which shows the old picture, is blanked and no longer referred to. A
    block that is damaged is returned as it is.
    """
    directory = _find(exif)
    if directory is None:
        return exif
    edited = bytearray(exif)
    if directory.value is not None:
        struct.pack_into(f"{directory.order}H", edited, directory.value, UPRIGHT)
    _blank_thumbnail(edited, directory)
    struct.pack_into(f"{directory.order}I", edited, directory.next, 0)
    return bytes(edited)


def without_pictures(exif: bytes) -> bytes | None:
    """Return a new block with only what surely shows no face: dates, camera, exposure, place; None where none is left.

    Maker notes, comments, XMP and further directories may hold previews and are left out.
    """
    found, kept = Image.Exif(), Image.Exif()
    try:
        found.load(PREFIX + exif)
        for tag in (tag for tag in DESCRIPTIVE if tag in found):
            kept[tag] = found[tag]
        for directory in EXIF_DIRECTORIES:
            entries = {tag: value for tag, value in found.get_ifd(directory).items() if tag not in _MAY_SHOW}
            if entries:
                kept[directory] = entries
        return kept.tobytes().removeprefix(PREFIX) if len(kept) else None
    except Exception:  # Pillow raises many kinds for damaged blocks, which are then left out whole
        return None


def _blank_thumbnail(exif: bytearray, directory: _Directory) -> None:
    """Overwrite the thumbnail's bytes with zeros, whether it is a JPEG or strips of pixels."""
    (start,) = struct.unpack_from(f"{directory.order}I", exif, directory.next)
    if not start:
        return
    places, lengths = [], []
    for tag, values in _whole_numbers(exif, directory.order, start):
        places += values if tag in _THUMBNAIL_PLACES else []
        lengths += values if tag in _THUMBNAIL_LENGTHS else []
    for place, length in zip(places, lengths, strict=False):
        end = min(len(exif), place + length)
        if _HEADER <= place < end:
            exif[place:end] = bytes(end - place)


def _whole_numbers(exif: bytearray, order: str, start: int) -> Iterator[tuple[int, list[int]]]:
    """The entries of a directory that hold whole numbers: tag and values; what is damaged ends it."""
    with suppress(struct.error):
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", exif, place)
            letter = {3: "H", 4: "I"}.get(kind)
            if letter is None or number * 2 > len(exif):
                continue
            inside = struct.calcsize(f"{order}{number}{letter}") <= 4
            (elsewhere,) = struct.unpack_from(f"{order}I", exif, place + 8)
            values = struct.unpack_from(f"{order}{number}{letter}", exif, place + 8 if inside else elsewhere)
            yield tag, list(values)


def _find(exif: bytes) -> _Directory | None:
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        value = None
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, place)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                value = place + 8
        end = start + 2 + 12 * count
        struct.unpack_from(f"{order}I", exif, end)
    except struct.error:
        return None
    return _Directory(order, value, end)
