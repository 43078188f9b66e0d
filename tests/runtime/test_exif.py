from __future__ import annotations

import struct

import pytest
from PIL import Image

from pocketface.runtime.exif import PREFIX, make_upright, orientation_of


def block(order: str, orientation: int, thumbnail: int = 0) -> bytes:
    """A directory with a maker's name, the orientation, and a reference to a thumbnail's directory."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = struct.pack(f"{order}HHI4s", 271, 2, 4, b"Ann\0")
    entries += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}IH", 8, 2) + entries + struct.pack(f"{order}I", thumbnail)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_only_orientation_and_thumbnail_change(order: str, orientation: int) -> None:
    before = block(order, orientation, thumbnail=99)
    assert orientation_of(before) == orientation
    assert make_upright(before) == block(order, 1, thumbnail=0)


def test_agrees_with_what_pillow_writes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x829A] = 0.01
    written = exif.tobytes().removeprefix(PREFIX)
    assert orientation_of(written) == 6
    again = Image.Exif()
    again.load(PREFIX + make_upright(written))
    assert again[0x0112] == 1
    assert again.get_ifd(0x8769)[0x829A] == 0.01


@pytest.mark.parametrize("damaged", [b"", b"II*\0", b"poem", b"MM\0*\xff\xff\xff\xff", block("<", 6)[:20]])
def test_a_damaged_block_says_upright_and_stays(damaged: bytes) -> None:
    assert orientation_of(damaged) == 1
    assert make_upright(damaged) == damaged


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_upright(orientation: int) -> None:
    assert orientation_of(block("<", orientation)) == 1


def test_no_block_is_upright() -> None:
    assert orientation_of(None) == 1
