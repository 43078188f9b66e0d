"""CMYK photographs keep their inks wherever nothing was changed, and show what was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from pocketface.runtime.cmyk import Ink
from pocketface.runtime.errors import ImageError, OutputError
from pocketface.runtime.images import Photo, check_destination, read_photo, write_photo
from pocketface.runtime.upscale import upscale_photo

from .press import cmyk_profile

Bytes = NDArray[np.uint8]
PROFILE = cmyk_profile()
# Rounding to 8 bits of four inks and back.
EXACT = 1
PROFILES = pytest.mark.parametrize("icc", [None, PROFILE], ids=["no profile", "profile"])


def separated(*, black: float = 0.3) -> Bytes:
    """The astronaut in inks, with less black than either way back would take: somebody else's separation."""
    light = astronaut()[40:240, 100:300].astype(float) / 255
    share = black * (1 - light.max(axis=2, keepdims=True))
    return np.rint(np.concatenate([1 - light / (1 - share), share], axis=2) * 255).astype(np.uint8)


def save(path: Path, inks: Bytes, icc: bytes | None, **options: Any) -> Path:
    given = {} if icc is None else {"icc_profile": icc}
    height, width = inks.shape[:2]
    Image.frombytes("CMYK", (width, height), inks.tobytes()).save(path, **given, **options)
    return path


def inks_of(path: Path) -> Bytes:
    with Image.open(path) as image:
        assert image.mode == "CMYK"
        return np.asarray(image)


def brightened(rgb: Bytes) -> Bytes:
    """The middle made lighter, by less and less towards its edge."""
    y, x = np.mgrid[:200, :200]
    bump = np.clip(1 - np.hypot(y - 100, x - 100) / 60, 0, 1)[:, :, None]
    return np.clip(rgb + np.rint(40 * bump), 0, 255).astype(np.uint8)


@PROFILES
@pytest.mark.parametrize("suffix", [".tif", ".tiff"])
def test_inks_outside_a_change_are_the_same_to_the_bit_and_inside_they_show_it(
    tmp_path: Path, icc: bytes | None, suffix: str
) -> None:
    given = save(tmp_path / f"in{suffix}", separated(), icc, dpi=(300, 300))
    photo = read_photo(given)
    changed = brightened(photo.rgb.astype(np.uint8))
    write_photo(photo.with_rgb(changed), tmp_path / f"out{suffix}")
    same = (changed == photo.rgb).all(axis=2)
    inks = inks_of(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(inks[same], separated()[same])
    again = read_photo(tmp_path / f"out{suffix}")
    error = np.abs(again.rgb.astype(int) - changed)[~same]
    assert error.mean() < (0.6 if icc is None else 2.5)  # the profile is a table of a few thousand colours
    assert again.metadata.dpi == (300, 300)
    assert again.ink is not None
    assert again.ink.icc == icc
    # Where the change is faint, so is that of each ink: no edge between old and new separation.
    faint = ~same & (np.abs(changed.astype(int) - photo.rgb).max(axis=2) <= 2)
    assert np.abs(inks[faint].astype(int) - separated()[faint]).max() <= 8


@PROFILES
def test_jpeg_stays_cmyk_with_its_profile_exif_and_resolution(tmp_path: Path, icc: bytes | None) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2001:02:03 04:05:06"
    given = save(tmp_path / "in.jpg", separated(), icc, exif=exif.tobytes(), quality=95)
    photo = read_photo(given)
    write_photo(photo, tmp_path / "out.jpg")
    # What a second compression at quality 95 costs.
    assert np.abs(inks_of(tmp_path / "out.jpg").astype(int) - inks_of(given)).mean() < 1.5
    again = read_photo(tmp_path / "out.jpg")
    assert again.ink is not None
    assert again.ink.icc == icc
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif()[0x0132] == "2001:02:03 04:05:06"
    bare = replace(photo, metadata=replace(photo.metadata, exif=None, dpi=(240.0, 240.0)))
    write_photo(bare, tmp_path / "bare.jpg")
    assert read_photo(tmp_path / "bare.jpg").metadata.dpi == pytest.approx((240, 240))


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_formats_without_cmyk_get_srgb(tmp_path: Path, suffix: str) -> None:
    photo = read_photo(save(tmp_path / "in.tif", separated(), PROFILE))
    write_photo(photo, tmp_path / f"out{suffix}")
    again = read_photo(tmp_path / f"out{suffix}")
    assert again.ink is None
    assert again.metadata.icc is None
    assert np.abs(again.rgb.astype(int) - photo.rgb).mean() < (1e-9 if suffix == ".png" else 3)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_scan_is_turned_with_its_inks(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = separated()[:120]
    given = save(tmp_path / "in.jpg", wide, None, exif=exif.tobytes(), quality=100)
    photo = read_photo(given)
    assert photo.ink is not None
    assert photo.rgb.shape[:2] == photo.ink.pixels.shape[:2] == ((120, 200) if orientation == 3 else (200, 120))
    np.testing.assert_array_equal(photo.ink.shown(), photo.rgb)


@PROFILES
def test_nothing_of_hidden_inks_is_left(icc: bytes | None) -> None:
    """Two photographs that differ in what is hidden, and in nothing else, end as the same file."""
    cover = np.full((40, 40, 3), (90, 120, 70), np.uint8)
    found = []
    for black in (0.1, 0.9):
        inks = separated(black=0.3)
        inks[80:120, 80:120] = separated(black=black)[10:50, 90:130]
        ink = Ink(inks, icc, private=True)
        rgb = ink.shown()
        rgb[80:120, 80:120] = cover
        found.append(ink.showing(rgb))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_colour_that_is_the_same_by_chance_is_inked_afresh_where_something_is_hidden() -> None:
    ink = Ink(separated(), private=True)
    rgb = ink.shown()
    rgb[50:90, 50:90] = rgb[50:90, 50:90] // 2
    rgb[70, 70] = ink.shown()[70, 70]
    fresh = ink.showing(rgb)[70, 70]
    assert fresh[3] == 255 - rgb[70, 70].max()  # all the black that the colour allows, not what was there


def test_black_gives_way_where_a_colour_becomes_lighter_than_it_allows() -> None:
    inks = np.zeros((20, 20, 4), np.uint8)
    inks[..., 3] = 255
    rgb = np.full((20, 20, 3), (200, 100, 0), np.uint8)
    lighter = Ink(inks).showing(rgb)
    np.testing.assert_allclose(Ink(lighter).shown().astype(int), rgb, atol=EXACT)


def test_enlarging_enlarges_the_inks(tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / "in.tif", separated(), None))
    write_photo(upscale_photo(photo, 2), tmp_path / "out.tif")
    assert inks_of(tmp_path / "out.tif").shape == (400, 400, 4)
    again = read_photo(tmp_path / "out.tif").rgb
    assert np.abs(again.astype(int) - upscale_photo(photo, 2).rgb).mean() < 1


def test_a_profile_without_a_way_back_is_refused_before_any_work_but_for_png(tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / "in.tif", separated(), cmyk_profile(way_back=False)))
    with pytest.raises(OutputError, match=r"write \.png"):
        check_destination(tmp_path / "out.tif", photo)
    check_destination(tmp_path / "out.png", photo)
    write_photo(photo, tmp_path / "out.png")


@pytest.mark.parametrize("icc", [b"nonsense", b"\0" * 400], ids=["nonsense", "zeros"])
def test_a_profile_that_is_none_is_named(tmp_path: Path, icc: bytes) -> None:
    with pytest.raises(ImageError, match="profile for CMYK"):
        read_photo(save(tmp_path / "in.tif", separated(), icc))


def test_a_profile_for_rgb_is_named(tmp_path: Path) -> None:
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with pytest.raises(ImageError, match="profile for CMYK"):
        read_photo(save(tmp_path / "in.tif", separated(), icc))


def test_grey_stays_grey_in_colour_and_in_ink(tmp_path: Path) -> None:
    inks = np.zeros((40, 40, 4), np.uint8)
    inks[..., 3] = np.arange(40)[:, None] * 6
    photo = read_photo(save(tmp_path / "in.tif", inks, None))
    assert photo.grey
    write_photo(Photo(photo.rgb // 2, grey=True, ink=photo.ink), tmp_path / "out.tif")
    assert np.ptp(inks_of(tmp_path / "out.tif")[..., :3], axis=2).max() == 0
    np.testing.assert_array_equal(read_photo(tmp_path / "out.tif").rgb, photo.rgb // 2)
