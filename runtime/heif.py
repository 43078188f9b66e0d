"""AVIF and HEIC: two kinds of file in one container, told apart by the brands that it begins with.

Pillow reads AVIF by itself; HEIC needs the extra `heic` (pillow-heif). Both would cut 10 bits to 8, so that such files
are refused.
"""

from __future__ import annotations

import importlib
from functools import lru_cache

from PIL import features

from .errors import ImageError

_AVIF = (b"avif", b"avis")
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_GENERIC = (b"mif1", b"msf1")  # either; the brands that follow decide
_HIGH_DEPTH = 0x40  # in the third byte of AV1's configuration


def container_of(content: bytes) -> str | None:
    """`AVIF`, `HEIF`, or None where the bytes are something else."""
    if content[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(content[:4], "big"), 256)
    brands = [content[8:12], *(content[place : place + 4] for place in range(16, length, 4))]
    if any(brand in _AVIF for brand in brands):
        return "AVIF"
    return "HEIF" if any(brand in (*_HEIC, *_GENERIC) for brand in brands) else None


def prepare_reader(kind: str, content: bytes, name: str) -> None:
    """Make Pillow able to read an AVIF or HEIF file.

    Args:
        kind: `AVIF` or `HEIF`.
        content: of the file.
        name: of the file, for messages.

    Raises:
        ImageError: a reader that is not installed here, or an AVIF file of more than 8 bits.
    """
    if kind == "HEIF":
        if not _register_heif():
            raise ImageError("a reader for HEIC", f"none here for {name}", "run: pip install 'pocketface[heic]'")
        return
    if not features.check("avif"):
        raise ImageError("a Pillow that reads AVIF", f"one without in {name}", "run: pip install 'pillow>=11.3'")
    place = content.find(b"av1C")
    if place >= 0 and len(content) > place + 6 and content[place + 6] & _HIGH_DEPTH:
        raise ImageError("AVIF of 8 bits", f"10 or 12 in {name}", "convert it to 16-bit PNG first")


@lru_cache(maxsize=1)
def _register_heif() -> bool:
    try:
        plugin = importlib.import_module("pillow_heif")
    except ImportError:
        return False
    plugin.register_heif_opener()
    return True
