from __future__ import annotations

import struct

import pytest
from PIL import Image

from pocketface.runtime.exif import PREFIX, make_upright, orientation_of, without_pictures


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


def with_thumbnail() -> bytes:
    """A camera's block: maker's note, comment, dates and a thumbnail, as Pillow lays it out."""
    exif = Image.Exif()
    exif[0x0112], exif[306] = 6, "1999:12:31 23:59:59"
    exif.get_ifd(0x8769).update({0x9003: "1999:12:31 23:59:58", 0x927C: b"MAKER" * 40, 0x9286: b"ASCII\0\0\0me"})
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 0.0)})
    block = bytearray(exif.tobytes().removeprefix(PREFIX))
    directory = _end_of_first_directory(block)
    place = len(block)
    struct.pack_into("<I" if block[:2] == b"II" else ">I", block, directory, place)
    order = "<" if block[:2] == b"II" else ">"
    picture = place + 2 + 2 * 12 + 4
    block += struct.pack(f"{order}H", 2)
    block += struct.pack(f"{order}HHII", 0x0201, 4, 1, picture) + struct.pack(f"{order}HHII", 0x0202, 4, 1, 9)
    return bytes(block + struct.pack(f"{order}I", 0) + b"OLD  FACE" + b"behind it")


def _end_of_first_directory(block: bytearray) -> int:
    order = "<" if block[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, start)
    return start + 2 + 12 * count


def test_the_thumbnail_is_blanked_and_nothing_else() -> None:
    before = with_thumbnail()
    after = make_upright(before)
    assert b"OLD" not in after
    assert b"FACE" not in after
    assert after.endswith(bytes(9) + b"behind it")
    assert b"MAKER" in after
    assert len(after) == len(before)


def test_only_what_shows_no_face_stays_where_people_are_made_anonymous() -> None:
    private = without_pictures(with_thumbnail())
    assert private is not None
    for gone in (b"MAKER", b"ASCII", b"FACE", b"behind"):
        assert gone not in private
    exif = Image.Exif()
    exif.load(PREFIX + private)
    assert exif[306] == "1999:12:31 23:59:59"
    assert exif.get_ifd(0x8769)[0x9003] == "1999:12:31 23:59:58"
    assert exif.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("damaged", [b"", b"poem", b"MM\0*\xff\xff\xff\xff", with_thumbnail()[:30]])
def test_a_damaged_block_is_left_out_whole(damaged: bytes) -> None:
    assert b"MAKER" not in (without_pictures(damaged) or b"")


def test_a_thumbnail_beyond_the_block_is_no_harm() -> None:
    block = with_thumbnail()
    for cut in range(len(block) - 60, len(block)):
        assert len(make_upright(block[:cut])) == cut
