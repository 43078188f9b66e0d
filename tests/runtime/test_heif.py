from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from pocketface.runtime import heif
from pocketface.runtime.decode import decode
from pocketface.runtime.errors import ImageError
from pocketface.runtime.images import read_photo, write_photo

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


def picture() -> Image.Image:
    """Smooth, so that lossy compression leaves it within a few levels, and different in all four corners."""
    y, x = np.mgrid[:64, :96].astype(float)
    return Image.fromarray(np.stack([x * 2.5, y * 3.5, 255 - x - y], axis=2).astype(np.uint8))


def saved(kind: str, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[306] = orientation, "1999:12:31 23:59:59"
    stream = io.BytesIO()
    picture().save(stream, kind, quality=95, exif=exif)
    return stream.getvalue()


@needs_avif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_read_upright_and_written(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "in.avif").write_bytes(saved("AVIF", orientation))
    photo = read_photo(tmp_path / "in.avif")
    stored = Image.Exif()
    stored[0x0112] = orientation
    turned = picture()
    turned.info["exif"] = stored.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(turned)).astype(int)
    assert photo.rgb.shape == expected.shape
    # Compression at quality 95: a few levels of noise.
    assert np.abs(photo.rgb - expected).mean() < 3
    write_photo(photo, tmp_path / "out.avif")
    again = read_photo(tmp_path / "out.avif")
    assert np.abs(again.rgb.astype(int) - photo.rgb).mean() < 2
    assert again.metadata.exif is not None
    assert b"1999:12:31" in again.metadata.exif


@needs_avif
def test_avif_of_ten_bits_is_refused_and_not_cut() -> None:
    content = bytearray(saved("AVIF"))
    content[content.find(b"av1C") + 6] |= 0x40
    with pytest.raises(ImageError, match="8 bits"):
        decode(bytes(content), "deep.avif")


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_is_read_upright(orientation: int) -> None:
    plugin = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    plugin.register_heif_opener()
    given = picture() if orientation == 1 else picture().rotate(90, expand=True)  # turned clockwise it is upright
    exif = Image.Exif()
    stream = io.BytesIO()
    given.save(stream, "HEIF", quality=95, exif=exif)
    raster = decode(stream.getvalue(), "a.heic")
    assert raster.pixels.shape == (*given.size[::-1], 3)
    assert np.abs(raster.pixels.astype(int) - np.asarray(given)).mean() < 3


def test_without_the_extra_heic_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heif._register_heif.cache_clear()
    content = (24).to_bytes(4, "big") + b"ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match=r"pocketface\[heic\]"):
        decode(content, "a.heic")
    heif._register_heif.cache_clear()


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (b"avif\0\0\0\0mif1miaf", "AVIF"),
        (b"mif1\0\0\0\0avifmiaf", "AVIF"),
        (b"heic\0\0\0\0mif1heic", "HEIF"),
        (b"mif1\0\0\0\0heicmiaf", "HEIF"),
        (b"isom\0\0\0\0avc1mp41", None),
    ],
)
def test_the_brands_tell_the_kind(brands: bytes, kind: str | None) -> None:
    content = (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands
    assert heif.container_of(content) == kind


@pytest.mark.parametrize("content", [b"", b"ftyp", b"\0\0\0\x18ftyp", b"\xff\xff\xff\xffftypheic"])
def test_a_torn_head_is_no_crash(content: bytes) -> None:
    assert heif.container_of(content) in (None, "HEIF")
