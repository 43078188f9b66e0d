"""The metrics against closed forms and against scikit-image."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from pocketface.runtime import metrics
from pocketface.runtime.errors import ContractError
from pocketface.runtime.restorer import Faces


@pytest.fixture(scope="module")
def face() -> Faces:
    crop = data.astronaut()[20:148, 160:288]
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def noisy(face: Faces, sigma: float, seed: int = 0) -> Faces:
    noise = np.random.default_rng(seed).normal(0, sigma, face.shape)
    return np.clip(face + noise, 0, 1).astype(np.float32)


def test_psnr_of_a_constant_offset_is_the_closed_form() -> None:
    a = np.full((2, 3, 16, 16), 0.25, np.float32)
    b = a.copy()
    b[0] += 0.1
    b[1] += 0.01
    # float32 holds 0.35 - 0.25 to about 1e-8, hence 1e-4 dB
    np.testing.assert_allclose(metrics.psnr(a, b), [20, 40], atol=1e-4)


def test_identical_faces_reach_the_limit_and_nothing_else_does(face: Faces) -> None:
    nearly = face.copy()
    nearly[0, 0, 0, 0] = np.nextafter(nearly[0, 0, 0, 0], np.float32(1))
    assert metrics.psnr(face, face)[0] == metrics.DECIBEL_LIMIT
    assert 150 < metrics.psnr(face, nearly)[0] < metrics.DECIBEL_LIMIT


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2])
def test_ssim_agrees_with_scikit_image(face: Faces, sigma: float) -> None:
    other = noisy(face, sigma)
    theirs = structural_similarity(
        face[0], other[0], channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    # scikit-image works in float32 where it is given float32: 1e-4 is well above its rounding, far below any use
    assert metrics.ssim(face, other)[0] == pytest.approx(theirs, abs=1e-4)


def test_ssim_knows_identity_and_negation(face: Faces) -> None:
    assert metrics.ssim(face, face)[0] == pytest.approx(1.0, abs=1e-12)
    assert metrics.ssim(face, 1 - face)[0] < 0


def test_residual_snr_is_zero_for_a_copy_that_restores_nothing(face: Faces) -> None:
    given = noisy(face, 0.1)
    assert metrics.snr_of_residual(face, given, given)[0] == pytest.approx(0.0, abs=1e-9)


def test_residual_snr_counts_the_error_against_the_change() -> None:
    given = np.full((1, 3, 8, 8), 0.5, np.float32)
    reference, candidate = given + np.float32(0.2), given + np.float32(0.22)
    # the error is a tenth of the change: 20 dB, to float32's rounding of 0.02
    assert metrics.snr_of_residual(reference, candidate, given)[0] == pytest.approx(20.0, abs=1e-3)


def test_a_restorer_that_changes_nothing_where_work_was_wanted_has_no_signal() -> None:
    given = np.full((1, 3, 8, 8), 0.5, np.float32)
    assert metrics.snr_of_residual(given, given + np.float32(0.1), given)[0] == -metrics.DECIBEL_LIMIT
    assert metrics.snr_of_residual(given, given, given)[0] == metrics.DECIBEL_LIMIT


def edge(width: float) -> Faces:
    """A soft vertical edge in the middle of a face of 128 pixels; `width` is its sigma."""
    across = np.array([math.erf((x - 63.5) / (width * math.sqrt(2))) for x in range(128)], np.float32)
    return np.broadcast_to(0.5 + 0.3 * across, (1, 3, 128, 128)).astype(np.float32)


def test_an_edge_twice_as_wide_is_half_as_sharp() -> None:
    # Sobel's own width adds a little to both edges
    assert metrics.sharpness(edge(4), edge(2))[0] == pytest.approx(0.5, abs=0.02)
    assert metrics.sharpness(edge(2), edge(4))[0] == pytest.approx(2, abs=0.1)
    assert metrics.sharpness(edge(2), edge(2))[0] == 1


def test_blur_lowers_sharpness_and_noise_does_not_raise_it(face: Faces) -> None:
    def blurred(sigma: float) -> Faces:
        return cv2.GaussianBlur(face[0].transpose(1, 2, 0), (0, 0), sigma).transpose(2, 0, 1)[None]

    noise = np.random.default_rng(0).normal(0, 15 / 255, face.shape).astype(np.float32)
    sharp, soft, softer = (metrics.sharpness(given, face)[0] for given in (face, blurred(1), blurred(2)))
    assert sharp == pytest.approx(1)
    assert sharp > soft + 0.1
    assert soft > softer + 0.1
    # the noise's energy alone would add 0.4 and more; its sampling error over these pixels is 0.02
    for clean, figure in ((face, sharp), (blurred(2), softer)):
        assert metrics.sharpness(clean + noise, face)[0] == pytest.approx(figure, abs=0.04)


def test_detail_that_moved_by_a_pixel_still_counts(face: Faces) -> None:
    assert metrics.sharpness(np.roll(face, 1, axis=3), face)[0] == pytest.approx(1, abs=0.05)


def test_a_face_without_detail_has_no_sharpness() -> None:
    flat = np.full((1, 3, 64, 64), 0.5, np.float32)
    assert np.isnan(metrics.sharpness(flat, flat)[0])


def test_max_abs_and_share_see_one_pixel() -> None:
    a = np.zeros((1, 3, 10, 10), np.float32)
    b = a.copy()
    b[0, 1, 3, 4] = 0.5
    b[0, 2, 5, 5] = 0.5 / 255  # half a grey level does not count
    assert metrics.max_abs(a, b)[0] == 0.5
    assert metrics.share_beyond_grey_level(a, b)[0] == 0.01


def test_nan_stays_with_its_own_face(face: Faces) -> None:
    pair = np.concatenate([face, face])
    broken = pair.copy()
    broken[1, 0, 5, 5] = np.nan
    for metric in (
        metrics.psnr,
        metrics.ssim,
        metrics.sharpness,
        metrics.max_abs,
        metrics.share_beyond_grey_level,
    ):
        np.testing.assert_array_equal(np.isnan(metric(pair, broken)), [False, True], err_msg=metric.__name__)


def test_identity_angle_and_cosine() -> None:
    a = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])
    b = np.array([[0.0, 3.0], [5.0, 0.0], [-1.0, -1.0]])
    np.testing.assert_allclose(metrics.identity_cosine(a, b), [0, 1, -1], atol=1e-12)
    np.testing.assert_allclose(metrics.identity_angle(a, b), [90, 0, 180], atol=1e-5)


def test_landmark_error_is_a_share_of_the_eye_distance() -> None:
    truth = np.array([[[0, 0], [100, 0], [50, 50], [20, 80], [80, 80]]], float)
    found = truth + np.array([3.0, 4.0])
    assert metrics.landmark_error(found, truth)[0] == pytest.approx(0.05)


def test_landmarks_that_were_not_found_leave_the_others_their_figure() -> None:
    truth = np.tile(np.array([[0, 0], [100, 0], [50, 50], [20, 80], [80, 80]], float), (3, 1, 1))
    found = truth + np.array([3.0, 4.0])
    found[0], truth[1] = np.nan, np.nan
    np.testing.assert_allclose(metrics.landmark_error(found, truth), [np.nan, np.nan, 0.05])


def test_landmarks_without_an_eye_distance_are_refused() -> None:
    points = np.zeros((1, 5, 2))
    with pytest.raises(ContractError, match="distinct eyes"):
        metrics.landmark_error(points, points)


def test_shapes_must_agree(face: Faces) -> None:
    with pytest.raises(ContractError, match="one shape"):
        metrics.psnr(face, face[:, :, :64, :64])


def test_ssim_refuses_faces_below_its_window() -> None:
    tiny = np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(ContractError, match="11 pixels"):
        metrics.ssim(tiny, tiny)
