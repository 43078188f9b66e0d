from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from pocketface.runtime.faces.match import match_colour
from pocketface.runtime.faces.paste import Crop, paste_faces, soft_mask
from pocketface.runtime.faces.poisson import seamless_change
from pocketface.runtime.images import to_float

CROP = to_float(np.ascontiguousarray(astronaut()[30:158, 160:288]))


def inside(side: int = 128) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return np.hypot(x - side / 2, y - side / 2) < 0.4 * side


def test_opencv_blends_alike() -> None:
    ramp = np.linspace(0, 0.1, 128, dtype=np.float32)[None, :, None]
    bump = 0.15 * np.exp(-np.square(np.arange(128, dtype=np.float32) - 60) / 400)
    restored = np.clip(CROP * 0.8 + ramp + bump[:, None, None] * np.array([0.5, -0.6, 1.0], np.float32), 0, 1)
    change = seamless_change((restored - CROP).astype(np.float32), inside())
    mask = inside().astype(np.uint8) * 255
    rows, columns = np.nonzero(mask)
    centre = (int(columns.min() + columns.max() + 1) // 2, int(rows.min() + rows.max() + 1) // 2)
    levels = [np.rint(crop * 255).astype(np.uint8) for crop in (restored, CROP)]
    wanted = cv2.seamlessClone(levels[0], levels[1], mask, centre, cv2.NORMAL_CLONE).astype(float)
    error = np.abs(np.clip(CROP + change, 0, 1) * 255 - wanted)[inside()]
    plain = np.abs((restored - CROP) * 255)[inside()].mean()
    # Two solvers of one equation, one of them rounding to levels; OpenCV also draws the border three pixels further in,
    # where the change has other values.
    assert error.mean() < 0.25 * plain


def test_no_change_stays_none_and_a_constant_one_vanishes() -> None:
    nothing = np.zeros((128, 128, 3), np.float32)
    assert not seamless_change(nothing, inside()).any()
    tinted = seamless_change(nothing + np.array([0.1, 0, -0.1], np.float32), inside())
    assert np.abs(tinted).max() < 0.1 / 50
    assert not seamless_change(nothing + 1, inside())[~inside()].any()


def test_poisson_pastes_detail_without_the_tint() -> None:
    photo = np.full((200, 200, 3), 120, np.uint8)
    matrix = np.array([[1.0, 0, -36], [0, 1, -36]])
    given = to_float(photo[36:164, 36:164])
    detail = (0.1 * np.sin(np.arange(128) / 2))[None, :, None].astype(np.float32)
    restored = given + detail + np.array([0.15, 0, -0.15], np.float32)
    feathered, poisson = (
        paste_faces(photo, [given], [restored], [matrix], blend).astype(int) - photo for blend in ("feather", "poisson")
    )
    centre = slice(85, 115), slice(85, 115)
    assert abs(feathered[centre][..., 0].mean() - 38) < 3
    assert abs(poisson[centre][..., 0].mean()) < 8  # the detail's own values on the border are part of the bend
    assert poisson[centre][..., 1].std() == pytest.approx(feathered[centre][..., 1].std(), rel=0.1)
    assert not poisson[:36].any()
    assert not poisson[:, :36].any()


def tinted(crop: Crop) -> Crop:
    return np.clip(crop * np.array([0.9, 0.8, 0.7], np.float32) + np.array([0.1, 0.05, 0.0], np.float32), 0, 1)


def test_matching_gives_the_colours_back_and_keeps_the_detail() -> None:
    matched = match_colour(CROP, tinted(CROP))
    weights = soft_mask(128)[:, :, None]
    before = np.abs((tinted(CROP) - CROP) * weights).mean()
    assert np.abs((matched - CROP) * weights).mean() < 0.35 * before
    sharp = np.clip(CROP + 0.5 * (CROP - np.asarray(cv2.GaussianBlur(CROP, (0, 0), 1.5))), 0, 1)
    again = match_colour(CROP, sharp.astype(np.float32))
    assert np.abs(again - sharp).mean() < 0.1 * np.abs(sharp - CROP).mean() + 1e-3


def test_matching_leaves_what_matches() -> None:
    np.testing.assert_allclose(match_colour(CROP, CROP), CROP, atol=1e-6)
