"""Damaged and hostile image files: a photograph or an ImageError comes of them, nothing else, and soon.

A few hundred examples here. To search for ten minutes:

    POCKETFACE_FUZZ_EXAMPLES=200000 timeout 600 pytest tests/runtime/test_reading_fuzz.py
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from pocketface.runtime.decode import MOST_PIXELS, decode
from pocketface.runtime.encode import encode
from pocketface.runtime.errors import ImageError, OutputError
from pocketface.runtime.exif import make_upright, orientation_of, without_pictures

EXAMPLES = int(os.environ.get("POCKETFACE_FUZZ_EXAMPLES", "150"))
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, derandomize="POCKETFACE_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


def seeds() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x927C] = b"note" * 9
    found = []
    for kind, mode, more in (
        ("JPEG", "RGB", {"exif": exif}), ("JPEG", "CMYK", {}), ("JPEG", "L", {"progressive": True}),
        ("PNG", "RGBA", {"exif": exif}), ("PNG", "P", {}), ("PNG", "1", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "CMYK", {}), ("WEBP", "RGBA", {"exif": exif}), ("BMP", "RGB", {}), ("GIF", "P", {}),
        ("AVIF", "RGB", {"exif": exif}),
    ):  # fmt: skip
        if kind == "AVIF" and not features.check("avif"):
            continue
        stream = io.BytesIO()
        Image.fromarray(pixels).convert("RGB").convert(mode).save(stream, kind, **more)
        found.append(stream.getvalue())
    deep = (pixels[:, :, :3].astype(np.uint16) * 257).copy()
    return [*found, *(cv2.imencode(suffix, deep)[1].tobytes() for suffix in (".png", ".tiff"))]


SEEDS = seeds()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file with bytes changed, cut out, doubled or appended."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        if not content:
            break
        place = draw(st.integers(0, len(content) - 1))
        length = draw(st.integers(1, 12))
        new = draw(st.binary(min_size=0, max_size=12))
        match draw(st.sampled_from(("change", "cut", "insert", "end"))):
            case "change":
                content[place : place + len(new)] = new
            case "cut":
                del content[place : place + length]
            case "insert":
                content[place:place] = new
            case _:
                del content[place:]
    return bytes(content)


def reads_or_refuses(content: bytes) -> None:
    try:
        raster = decode(content, "fuzz")
    except ImageError:
        return
    height, width, channels = raster.pixels.shape
    assert raster.pixels.dtype in (np.uint8, np.uint16)
    assert 1 <= channels <= 4
    assert height * width <= MOST_PIXELS
    assert 1 <= orientation_of(raster.exif) <= 8
    if raster.exif is not None:  # what is read can be written, whatever the block holds
        upright = make_upright(raster.exif)
        assert len(upright) == len(raster.exif)
        without_pictures(upright)


@FUZZ
@given(damaged())
@pytest.mark.filterwarnings("ignore")  # decoders warn of what they find, in words of their own
def test_a_damaged_file_is_read_or_refused(content: bytes) -> None:
    reads_or_refuses(content)


@FUZZ
@given(st.binary(max_size=400), st.sampled_from([b"", *{seed[:12] for seed in SEEDS}]))
@pytest.mark.filterwarnings("ignore")
def test_nonsense_behind_a_true_beginning_is_refused(tail: bytes, head: bytes) -> None:
    reads_or_refuses(head + tail)


@FUZZ
@given(st.binary(max_size=300), st.sampled_from([b"II*\0", b"MM\0*", b""]))
@example(struct.pack("<IH", 8, 65535), b"II*\0")
def test_any_exif_block_is_handled(tail: bytes, head: bytes) -> None:
    block = head + tail
    assert 1 <= orientation_of(block) <= 8
    assert len(make_upright(block)) == len(block)
    private = without_pictures(block)
    assert private is None or len(private) <= len(block) + 4096


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises more than its few bytes hold."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(20000, 20000), (65535, 65535), (2**31 - 1, 2**31 - 1), (16, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"megapixels|whole image"):
        decode(png_of(*size), "bomb.png")


def test_huge_jpegs_and_tiffs_are_refused_by_their_headers() -> None:
    jpeg = bytearray(SEEDS[0])
    place = jpeg.find(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(ImageError, match=r"megapixels|whole image"):
        decode(bytes(jpeg), "bomb.jpg")


def test_metadata_too_long_for_jpeg_is_refused_in_words() -> None:
    raster = decode(SEEDS[0], "a.jpg")
    with pytest.raises(OutputError, match="65533"):
        encode(replace(raster, exif=b"II*\0" + bytes(70000)), ".jpg")
