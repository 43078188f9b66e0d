from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from pocketface.runtime.colour import correct_colour, grade
from pocketface.runtime.images import to_float
from pocketface.runtime.look import skin_of, style_face
from pocketface.runtime.options import PhotoOptions

PICTURE = astronaut()
CROP = to_float(np.ascontiguousarray(PICTURE[30:220, 128:318]))
DEPTHS = pytest.mark.parametrize("depth", [np.uint8, np.uint16])


def in_depth(rgb: np.ndarray, depth: type) -> np.ndarray:
    return rgb.astype(np.uint8) if depth is np.uint8 else rgb.astype(np.uint16) * 257


def sharpness(crop: np.ndarray) -> float:
    return float(cv2.Laplacian(np.ascontiguousarray(crop @ np.array([0.3, 0.6, 0.1], np.float32)), cv2.CV_32F).std())


def chroma(crop: np.ndarray) -> np.ndarray:
    return np.ptp(crop, axis=2)


def test_natural_is_the_very_crop() -> None:
    assert style_face(CROP, PhotoOptions()) is CROP


def test_styles_and_sharpness_sharpen_in_order_and_stay_in_range() -> None:
    looks = [
        PhotoOptions(), PhotoOptions(style="cinematic"), PhotoOptions(style="clear"),
        PhotoOptions(style="clear", sharpness=0.6),
    ]  # fmt: skip
    found = [style_face(CROP, look) for look in looks]
    measured = [sharpness(crop) for crop in found]
    assert measured == sorted(measured)
    assert measured[3] > 1.3 * measured[0]
    assert all(crop.min() >= 0 and crop.max() <= 1 for crop in found)


def test_saturation_moves_skin_and_not_the_rest() -> None:
    skin = skin_of(CROP)
    cheek = slice(100, 120)
    assert skin[cheek, 80:110].mean() > 0.6
    vivid, dull = (style_face(CROP, PhotoOptions(saturation=value)) for value in (1.5, 0.0))
    assert chroma(vivid)[cheek, 80:110].mean() > 1.2 * chroma(CROP)[cheek, 80:110].mean()
    assert chroma(dull)[cheek, 80:110].mean() < 0.5 * chroma(CROP)[cheek, 80:110].mean()
    change = np.abs(vivid - CROP).mean(axis=2) / np.maximum(chroma(CROP), 0.02)
    assert change[skin < 0.1].mean() < 0.2 * change[skin > 0.6].mean()


def test_grey_faces_stay_grey_in_every_look() -> None:
    grey = np.repeat(CROP[:, :, :1], 3, axis=2)
    for look in (PhotoOptions(style="clear", saturation=1.8, sharpness=1), PhotoOptions(style="cinematic")):
        assert np.ptp(style_face(grey, look), axis=2).max() < 1e-6


@DEPTHS
def test_white_balance_takes_a_cast_away(depth: type) -> None:
    cast = in_depth(PICTURE * np.array([1.0, 0.8, 0.55]), depth)
    balanced = correct_colour(cast, "balance")
    assert balanced.dtype == cast.dtype
    assert balanced.shape == cast.shape
    means = [one.reshape(-1, 3).mean(0) / np.iinfo(depth).max for one in (cast, balanced, in_depth(PICTURE, depth))]
    spread = [np.ptp(mean) for mean in means]
    assert spread[1] < 0.5 * spread[0]


@DEPTHS
def test_fading_is_undone(depth: type) -> None:
    faded = in_depth(PICTURE * 0.4 + np.array([110, 90, 60]), depth)
    revived = correct_colour(faded, "revive")
    highest = np.iinfo(depth).max
    error = [np.abs(one / highest - PICTURE / 255).mean() for one in (faded, revived)]
    assert error[1] < 0.5 * error[0]
    assert np.ptp(np.percentile(revived, (1, 99))) > 1.5 * np.ptp(np.percentile(faded, (1, 99)))


def test_a_healthy_photograph_is_hardly_touched_and_keep_is_the_very_array() -> None:
    assert correct_colour(PICTURE, "keep") is PICTURE
    assert np.abs(correct_colour(PICTURE, "revive").astype(int) - PICTURE).mean() < 12


@pytest.mark.parametrize("wish", ["balance", "revive", "grade"])
@DEPTHS
def test_grey_photographs_stay_grey(wish: str, depth: type) -> None:
    grey = in_depth(np.repeat(PICTURE[:, :, :1], 3, axis=2), depth)
    found = grade(grey) if wish == "grade" else correct_colour(grey, wish)
    assert np.ptp(found, axis=2).max() == 0


@DEPTHS
def test_the_grade_keeps_black_and_white_and_raises_contrast(depth: type) -> None:
    highest = np.iinfo(depth).max
    ramp = np.linspace(0, highest, 256).astype(depth)[None, :, None].repeat(3, 2).repeat(4, 0)
    ramp[..., 0] = ramp[..., 0][:, ::-1][:, ::-1]
    ramp[0, 0] = (highest, 0, 0)  # a spot of colour: it is no grey photograph
    found = grade(ramp).astype(float)
    assert np.abs(found[1, 0]).max() == 0
    assert np.abs(found[1, -1] - highest).max() == 0
    assert found[1, 64, 2] > found[1, 64, 0]  # shadows to teal
    assert found[1, 192, 0] > found[1, 192, 2]  # highlights to orange


@pytest.mark.parametrize("level", [0, 255, 128])
def test_a_photograph_of_one_level_survives(level: int) -> None:
    flat = np.full((32, 32, 3), level, np.uint8)
    for wish in ("balance", "revive"):
        assert correct_colour(flat, wish).shape == flat.shape
