from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from pocketface.runtime.errors import ContractError, ImageError, OutputError
from pocketface.runtime.exif import PREFIX
from pocketface.runtime.images import (
    Metadata,
    Photo,
    check_destination,
    read_photo,
    to_float,
    to_pixels,
    to_uint8,
    write_photo,
)

Depth: TypeAlias = "type[np.uint8] | type[np.uint16]"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[271] = "Maker"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def opened(path: Path) -> Image.Image:
    """As another reader sees the file; from memory, so that no file stays open."""
    return Image.open(io.BytesIO(path.read_bytes()))


def random_photo(depth: Depth, *, alpha: bool, grey: bool) -> Photo:
    rng = np.random.default_rng(3)
    rgb = rng.integers(0, np.iinfo(depth).max, (20, 28, 3), depth, endpoint=True)
    rgb = np.repeat(rgb[:, :, :1], 3, axis=2) if grey else rgb
    mask = rng.integers(0, np.iinfo(depth).max, (20, 28), depth, endpoint=True) if alpha else None
    profile = None if grey else PROFILE
    return Photo(rgb, mask, grey, Metadata(profile, exif_block().tobytes().removeprefix(PREFIX), (300.0, 300.0)))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".TIF"])
def test_nothing_is_lost_in_a_lossless_format(
    tmp_path: Path, suffix: str, depth: Depth, alpha: bool, grey: bool
) -> None:
    photo = random_photo(depth, alpha=alpha, grey=grey)
    path = tmp_path / f"photo{suffix}"
    write_photo(photo, path)
    again = read_photo(path)
    np.testing.assert_array_equal(again.rgb, photo.rgb, strict=True)
    assert again.grey == grey
    assert again.metadata.icc == photo.metadata.icc
    assert again.metadata.dpi == pytest.approx((300, 300), abs=0.01)  # PNG counts whole pixels a metre
    if photo.alpha is None:
        assert again.alpha is None
    else:
        assert again.alpha is not None
        np.testing.assert_array_equal(again.alpha, photo.alpha, strict=True)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp"])
def test_exif_and_profile_are_kept_where_other_readers_find_them(tmp_path: Path, suffix: str) -> None:
    write_photo(random_photo(np.uint8, alpha=False, grey=False), tmp_path / f"a{suffix}")
    image = opened(tmp_path / f"a{suffix}")
    assert image.info["icc_profile"] == PROFILE
    exif = image.getexif()
    assert exif[271] == "Maker"
    assert exif.get_ifd(0x8769)[0x829A] == pytest.approx(0.01)  # stored as a fraction
    assert exif.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_every_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    stored = Image.fromarray(random_photo(np.uint8, alpha=True, grey=False).rgb)
    stored.putalpha(Image.fromarray(np.arange(20 * 28, dtype=np.uint16).astype(np.uint8).reshape(20, 28)))
    path = tmp_path / f"a{suffix}"
    stored.save(path, exif=exif_block(orientation), lossless=True, exact=True)
    upright = np.asarray(ImageOps.exif_transpose(opened(path)))
    photo = read_photo(path)
    assert photo.alpha is not None
    np.testing.assert_array_equal(np.dstack([photo.rgb, photo.alpha]), upright)
    write_photo(photo, tmp_path / "b.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "b.png").rgb, photo.rgb)
    assert opened(tmp_path / "b.png").getexif()[0x0112] == 1


def test_a_grey_photo_stored_in_colour_is_known_as_grey(tmp_path: Path) -> None:
    grey = random_photo(np.uint8, alpha=False, grey=True).rgb
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").grey
    grey[19, 27, 0] ^= 1
    Image.fromarray(grey).save(tmp_path / "b.png")
    assert not read_photo(tmp_path / "b.png").grey


def test_grey_with_a_profile_for_colour_keeps_its_three_channels(tmp_path: Path) -> None:
    photo = random_photo(np.uint8, alpha=False, grey=True)
    write_photo(photo, tmp_path / "plain.png")
    write_photo(Photo(photo.rgb, None, grey=True, metadata=Metadata(PROFILE)), tmp_path / "profiled.png")
    assert opened(tmp_path / "plain.png").mode == "L"
    assert opened(tmp_path / "profiled.png").mode == "RGB"


@pytest.mark.parametrize(("depth", "alpha"), [(np.uint8, True), (np.uint16, False)])
def test_what_a_format_cannot_hold_is_refused_and_nothing_written(tmp_path: Path, depth: Depth, alpha: bool) -> None:
    photo = random_photo(depth, alpha=alpha, grey=False)
    with pytest.raises(OutputError, match=r"\.png"):
        check_destination(tmp_path / "a.jpg", photo)
    with pytest.raises(OutputError, match=r"\.png"):
        write_photo(photo, tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.docx", "a", "a.heic"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="suffix"):
        check_destination(tmp_path / name)


def test_a_folder_is_no_destination(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match="folder"):
        check_destination(tmp_path / "a.png")


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    old = tmp_path / "a.jpg"
    old.write_bytes(b"precious")
    with pytest.raises(OutputError):
        write_photo(random_photo(np.uint16, alpha=False, grey=False), old)
    assert old.read_bytes() == b"precious"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="folder"):
        write_photo(random_photo(np.uint8, alpha=False, grey=False), tmp_path / "file" / "a.png")


@pytest.mark.parametrize("size", [(1, 1), (15, 100)])
def test_a_speck_is_no_photograph(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]}"):
        read_photo(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(ImageError, match=path.name):
            read_photo(path)


def test_other_pixels_must_fit() -> None:
    photo = random_photo(np.uint16, alpha=True, grey=False)
    assert photo.with_rgb(photo.rgb // 2).alpha is photo.alpha
    with pytest.raises(ContractError):
        photo.with_rgb(photo.rgb.astype(np.uint8))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_every_level_survives_the_way_to_float_and_back(depth: Depth) -> None:
    levels = np.arange(np.iinfo(depth).max + 1, dtype=np.uint32).astype(depth)
    values = to_float(levels)
    assert values.dtype == np.float32
    assert (values.min(), values.max()) == (0, 1)
    np.testing.assert_array_equal(to_pixels(values, levels.dtype), levels, strict=True)


def test_values_are_rounded_and_clipped() -> None:
    values = np.array([-0.5, 0.49 / 255, 0.51 / 255, 1.5], np.float32)
    np.testing.assert_array_equal(to_pixels(values, np.dtype(np.uint8)), [0, 0, 1, 255])


def test_sixteen_bits_become_eight_by_rounding_whatever_their_values() -> None:
    levels = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_uint8(levels), np.rint(levels / 257.0).astype(np.uint8), strict=True)
    dark = np.full((2, 2), 200, np.uint16)  # a 16-bit photograph may hold no value beyond 255
    assert to_uint8(dark).max() == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="a regular file"):
        read_photo(tmp_path / "pipe.jpg")
