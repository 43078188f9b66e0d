from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pocketface.runtime.errors import ContractError
from pocketface.runtime.faces.align import (
    ARCFACE,
    FFHQ,
    SPHEREFACE,
    Template,
    align_face,
    estimate_similarity,
    invert,
    scale_of,
    transform_points,
)

TEMPLATES = (FFHQ, ARCFACE, SPHEREFACE)
Depth = type[np.uint8] | type[np.uint16] | type[np.float32]


def similarity(scale: float, angle: float, x: float, y: float) -> NDArray[np.float64]:
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]])


similarities = st.builds(
    similarity, st.floats(0.05, 20), st.floats(-np.pi, np.pi), st.floats(-2000, 2000), st.floats(-2000, 2000)
)


@given(similarities)
def test_the_inverse_undoes_it(matrix: NDArray[np.float64]) -> None:
    points = FFHQ.scaled(256)
    there_and_back = transform_points(invert(matrix), transform_points(matrix, points))
    # Coordinates of thousands of pixels, divided by a scale of down to 0.05, in float64.
    np.testing.assert_allclose(there_and_back, points, rtol=0, atol=1e-8)


@given(similarities, st.sampled_from(TEMPLATES))
def test_a_known_similarity_is_recovered(matrix: NDArray[np.float64], template: Template) -> None:
    landmarks = transform_points(invert(matrix), template.scaled(256))
    found = estimate_similarity(landmarks, template, 256)
    np.testing.assert_allclose(transform_points(found, landmarks), template.scaled(256), rtol=0, atol=1e-9 * 256)
    assert scale_of(found) == pytest.approx(scale_of(matrix), rel=1e-9)


def crop_error(matrix: NDArray[np.float64], landmarks: NDArray[np.float64]) -> float:
    """How far true landmarks come to lie from the template's, at most, as a share of the crop's width."""
    return float(np.abs(transform_points(matrix, landmarks) - FFHQ.scaled(256)).max()) / 256


@given(similarities, st.integers(0, 4), st.floats(0, 2 * np.pi), st.floats(0, 5))
def test_one_wrong_landmark_moves_the_crop_little(
    matrix: NDArray[np.float64], which: int, direction: float, distance: float
) -> None:
    wrong = FFHQ.scaled(256).copy()
    wrong[which] += 256 * distance * np.array([np.cos(direction), np.sin(direction)])
    found = estimate_similarity(transform_points(invert(matrix), wrong), FFHQ, 256)
    error = crop_error(found, transform_points(invert(matrix), FFHQ.scaled(256)))
    if distance > 0.16:  # left out altogether
        assert error < 1e-6
    else:  # it might be a turned head: it keeps a bounded pull
        assert error < 0.05


def test_a_turned_head_keeps_all_five() -> None:
    turned = FFHQ.scaled(256).copy()
    turned[2] += (0.12 * 256, 0)  # the nose of a half profile
    without = FFHQ.scaled(256).copy()
    without[2] += (0.5 * 256, 0)
    kept, dropped = (estimate_similarity(points, FFHQ, 256) for points in (turned, without))
    assert crop_error(kept, FFHQ.scaled(256)) > 0.005
    assert crop_error(dropped, FFHQ.scaled(256)) < 1e-9


def test_a_mirrored_face_is_turned_but_never_mirrored() -> None:
    mirrored = FFHQ.scaled(256) * (-1, 1)
    matrix = estimate_similarity(mirrored, FFHQ, 256)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    "landmarks",
    [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2)), np.array([[np.inf, 0], *np.eye(4, 2).tolist()])],
)
def test_landmarks_that_are_none_are_refused(landmarks: NDArray[np.float64]) -> None:
    with pytest.raises(ContractError, match="landmarks"):
        estimate_similarity(landmarks, FFHQ, 256)


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_scale_about_pixel_edges(template: Template) -> None:
    once, twice = template.scaled(template.width), template.scaled(2 * template.width)
    np.testing.assert_allclose(once, template.points)
    np.testing.assert_allclose(twice, 2 * once + 0.5)  # 2 (x + 0.5) - 0.5


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_the_identity_is_the_identity(depth: Depth) -> None:
    image = (np.random.default_rng(0).random((32, 32, 3)) * 200).astype(depth)
    crop = align_face(image, np.eye(2, 3), 32)
    assert crop.dtype == depth
    np.testing.assert_array_equal(crop, image)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_whole_shift_moves_pixels_and_mirrors_the_edge(depth: Depth) -> None:
    image = np.arange(16 * 16 * 3).reshape(16, 16, 3).astype(depth)
    crop = align_face(image, np.array([[1.0, 0, 2], [0, 1, 0]]), 16)
    np.testing.assert_array_equal(crop[:, 2:], image[:, :-2])
    np.testing.assert_array_equal(crop[:, :2], image[:, 2:0:-1])


@pytest.mark.parametrize("factor", [2, 4])
def test_shrinking_by_a_whole_factor_is_the_mean_of_its_blocks(factor: int) -> None:
    image = np.random.default_rng(1).random((64, 64, 3)).astype(np.float32)
    matrix = np.array([[1.0, 0, 0], [0, 1, 0]]) / factor
    matrix[:, 2] = (1 / factor - 1) / 2  # (x + 0.5) / factor - 0.5: pixel centres
    means = image.reshape(64 // factor, factor, 64 // factor, factor, 3).mean((1, 3))
    np.testing.assert_allclose(align_face(image, matrix, 64 // factor), means, rtol=0, atol=1e-6)  # float32 rounding


@pytest.mark.parametrize("scale", [0.45, 0.3, 0.1])
def test_a_fine_pattern_becomes_flat_grey_when_it_shrinks(scale: float) -> None:
    board = ((np.indices((400, 400)).sum(0) % 2) * 255).astype(np.uint8)
    image = np.repeat(board[:, :, None], 3, axis=2)
    side = int(400 * scale * 0.7)
    matrix = similarity(scale, 0.3, 20.0, -10.0)
    crop = align_face(image, matrix, side).astype(float)
    naive = cv2.warpAffine(image, matrix, (side, side)).astype(float)
    inner = slice(side // 4, -side // 4)
    # A block of samples rarely holds as many white as black ones; without averaging the deviation is above 50.
    assert crop[inner, inner].std() < 12
    assert crop[inner, inner].mean() == pytest.approx(127.5, abs=2)
    assert naive[inner, inner].std() > 25


def test_a_face_lands_where_the_template_says() -> None:
    # Five bright spots at the landmarks of a turned and enlarged face.
    matrix = similarity(0.5, 0.4, -60.0, -40.0)
    landmarks = transform_points(invert(matrix), FFHQ.scaled(128))
    y, x = np.mgrid[: int(landmarks[:, 1].max()) + 40, : int(landmarks[:, 0].max()) + 40].astype(float)
    picture = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in landmarks)
    image = np.repeat(np.asarray(picture)[:, :, None], 3, axis=2).astype(np.float32)
    crop = align_face(image, estimate_similarity(landmarks, FFHQ, 128), 128)[:, :, 0].astype(float)
    for px, py in FFHQ.scaled(128):
        left, top = round(px) - 4, round(py) - 4
        spot = crop[top : top + 9, left : left + 9]
        rows, columns = np.mgrid[top : top + 9, left : left + 9]
        centre = (float((spot * columns).sum() / spot.sum()), float((spot * rows).sum() / spot.sum()))
        assert centre == pytest.approx((px, py), abs=0.1)


@pytest.mark.parametrize("width", [112, 96])
def test_height_may_differ_from_width(width: int) -> None:
    image = np.zeros((50, 60, 3), np.uint8)
    assert align_face(image, np.eye(2, 3), width, 112).shape == (112, width, 3)
