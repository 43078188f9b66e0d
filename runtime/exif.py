"""Edits EXIF blocks where they stand, so that maker notes and everything else in them survive to the byte.

A block is a small TIFF file: byte order, then a directory of 12-byte entries (tag, type, count, value), then the place
of the next directory, which describes the thumbnail.

Source: CIPA DC-008 (EXIF 2.32) and TIFF 6.0, written from the specifications.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PREFIX = b"Exif\0\0"
UPRIGHT = 1
# Entries of the first directory that refer to directories of their own: EXIF proper and GPS.
EXIF_DIRECTORIES = (0x8769, 0x8825)
_ORIENTATION, _SHORT = 0x0112, 3
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

    The orientation becomes 1, and the thumbnail, which shows the old picture, is no longer referred to. A block that is
    damaged is returned as it is.
    """
    directory = _find(exif)
    if directory is None:
        return exif
    edited = bytearray(exif)
    if directory.value is not None:
        struct.pack_into(f"{directory.order}H", edited, directory.value, UPRIGHT)
    struct.pack_into(f"{directory.order}I", edited, directory.next, 0)
    return bytes(edited)


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
