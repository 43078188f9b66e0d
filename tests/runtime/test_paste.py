from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.errors import ContractError
from pocketface.runtime.faces.align import FFHQ, align_face, estimate_similarity, invert, scale_of, transform_points
from pocketface.runtime.faces.paste import Crop, Pixels, paste_faces, region_of, share_masks, soft_mask
from pocketface.runtime.images import to_float

SIDE = 64
Matrix = NDArray[np.float64]
# Photograph to crop: enlarged to fit the crop, shrunk by two, and turned; the last reaches over the photograph's edge.
MATRICES = {
    "enlarged": np.array([[2.3, 0, -120], [0, 2.3, -90]]),
    "shrunk": np.array([[0.45, 0.1, -20], [-0.1, 0.45, -5]]),
    "same": np.array([[1.0, 0, -40], [0, 1.0, -30]]),
    "turned": np.array([[0.5, -0.6, 20], [0.6, 0.5, -60]]),
    "outside": np.array([[0.6, 0, 30], [0, 0.6, 20]]),
}


def noise(depth: type[np.uint8] | type[np.uint16]) -> Pixels:
    return np.random.default_rng(0).integers(0, np.iinfo(depth).max, (120, 160, 3), depth, endpoint=True)


def cut(photo: Pixels, matrix: Matrix) -> Crop:
    return to_float(align_face(photo, matrix, SIDE))


def reached(shape: tuple[int, ...], matrix: Matrix) -> NDArray[np.bool_]:
    """Where a photograph's pixels fall into the rectangle in which the mask is above 0, or beside it."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    places = transform_points(matrix, np.stack([x.ravel(), y.ravel()], 1))
    rows, columns = np.nonzero(soft_mask(SIDE))
    # Cubic interpolation reaches over two pixels of what it reads, which is averaged down where the crop is larger.
    margin = 2.1 * max(1.0, scale_of(matrix))
    lowest = np.array([columns.min(), rows.min()]) - margin
    highest = np.array([columns.max(), rows.max()]) + margin
    return np.all((places > lowest) & (places < highest), axis=1).reshape(shape[:2])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", MATRICES)
def test_outside_the_mask_every_bit_stays(name: str, depth: type[np.uint8] | type[np.uint16]) -> None:
    photo, matrix = noise(depth), MATRICES[name]
    before = photo.copy()
    given = cut(photo, matrix)
    pasted = paste_faces(photo, [given], [1 - given], [matrix])
    outside = ~reached(photo.shape, matrix)
    assert outside.any()
    np.testing.assert_array_equal(pasted[outside], photo[outside])
    assert (pasted != photo).any()
    assert pasted.dtype == depth
    np.testing.assert_array_equal(photo, before)  # the photograph itself is left alone


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", MATRICES)
def test_a_restorer_that_changes_nothing_changes_nothing(name: str, depth: type[np.uint8] | type[np.uint16]) -> None:
    photo, matrix = noise(depth), MATRICES[name]
    given = cut(photo, matrix)
    np.testing.assert_array_equal(paste_faces(photo, [given], [given.copy()], [matrix]), photo)


@pytest.mark.parametrize("name", ["enlarged", "shrunk", "same", "turned"])
def test_a_change_arrives_where_it_belongs_and_in_full(name: str) -> None:
    photo, matrix = np.full((120, 160, 3), 100, np.uint8), MATRICES[name]
    given = cut(photo, matrix)
    restored = given.copy()
    restored[:, :, 1] += 30 / 255
    pasted = paste_faces(photo, [given], [restored], [matrix]).astype(int)
    x, y = transform_points(invert(matrix), np.array([[SIDE / 2, SIDE / 2]]))[0].round().astype(int)
    np.testing.assert_array_equal(pasted[y, x], [100, 130, 100])
    np.testing.assert_array_equal(pasted[:, :, (0, 2)], 100)  # no tint from elsewhere
    assert pasted[:, :, 1].min() == 100
    # Cubic interpolation may overshoot a smooth mask by less than a level.
    assert pasted[:, :, 1].max() == 130
    # No seam: neighbours differ by no more than the mask's slope, here at most a fifth of its full height.
    assert np.abs(np.diff(pasted[:, :, 1], axis=0)).max() <= 6 * max(1, scale_of(matrix))


def test_a_restored_crop_comes_back_when_it_is_cut_again() -> None:
    photo = astronaut()
    landmarks = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])
    matrix = estimate_similarity(landmarks, FFHQ, 128)
    given = to_float(align_face(photo, matrix, 128))
    restored = np.clip(given * 0.8 + 0.1 * np.sin(np.arange(128) / 6)[None, :, None], 0, 1).astype(np.float32)
    again = to_float(align_face(paste_faces(photo, [given], [restored], [matrix]), matrix, 128))
    full = soft_mask(128) == 1
    # The crop has 1.5 pixels for each of the photograph's: resampling twice and rounding to 8 bits.
    assert np.abs(again - restored)[full].mean() < 0.01
    assert np.abs(again - given)[full].mean() > 0.05


def test_detail_finer_than_the_crop_survives() -> None:
    photo = noise(np.uint8) // 4 + 96
    matrix = np.array([[0.25, 0, 12], [0, 0.25, 17]])
    given = cut(photo, matrix)
    pasted = paste_faces(photo, [given], [given + np.float32(0.1)], [matrix])
    centre = pasted[50:70, 70:90].astype(int) - photo[50:70, 70:90]
    assert np.abs(centre - 25.5).max() <= 0.5 + 1e-3


def test_white_and_black_do_not_wrap_around() -> None:
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[:, 80:] = 255
    given = cut(photo, MATRICES["same"])
    for sign in (-1, 1):
        pasted = paste_faces(photo, [given], [given + np.float32(sign)], [MATRICES["same"]])
        assert set(np.unique(pasted[:, :40])) <= {0}
        assert pasted[60, 79, 0] == (255 if sign > 0 else 0)
        assert pasted[60, 81, 0] == (255 if sign > 0 else 0)


@pytest.mark.parametrize("shift", [0.0, 8.0, 25.0, 200.0])
def test_faces_that_overlap_are_changed_once(shift: float) -> None:
    photo = np.full((120, 300, 3), 100, np.uint8)
    matrices = [np.array([[1.0, 0, -40 - step], [0, 1.0, -30]]) for step in (0.0, shift, 2 * shift)]
    given = [cut(photo, matrix) for matrix in matrices]
    restored = [crop + np.float32(40 / 255) for crop in given]
    pasted = paste_faces(photo, given, restored, matrices)
    # Each of three shares is rounded to a level.
    assert pasted.max() <= 140 + 1
    assert abs(int(pasted[62, 40 + SIDE // 2, 0]) - 140) <= 1


def test_a_face_alone_keeps_its_whole_mask_and_the_nearer_one_the_larger_share() -> None:
    here, there = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[1.0, 0, -30], [0, 1, 0]])
    far = np.array([[1.0, 0, -500], [0, 1, 0]])
    np.testing.assert_array_equal(share_masks(soft_mask(SIDE), [here, far])[0], soft_mask(SIDE))
    left, right = share_masks(soft_mask(SIDE), [here, there])
    centre = SIDE // 2
    assert left[centre, centre] > 0.9
    assert right[centre, centre] > 0.9
    assert left[centre, centre + 15] == pytest.approx(0.5, abs=0.05)
    assert (left[:, 30:] + right[:, :-30]).max() <= 1 + 1e-6


def test_the_mask_is_smooth_and_ends_inside_the_crop() -> None:
    for side in (64, 256):
        mask = soft_mask(side)
        assert mask.max() == 1
        edge = max(1, side // 100)
        assert not mask[:edge].any()
        assert not mask[-edge:].any()
        assert not mask[:, :edge].any()
        assert not mask[:, -edge:].any()
        steepest = max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1))
        assert steepest < 10 / side  # no visible border: from 0 to 1 in no less than a tenth of the crop


def test_a_face_outside_the_photograph_changes_nothing() -> None:
    photo = noise(np.uint8)
    matrix = np.array([[1.0, 0, 500], [0, 1.0, 500]])
    assert region_of(matrix, SIDE, photo.shape[:2]) is None
    crop = np.zeros((SIDE, SIDE, 3), np.float32)
    np.testing.assert_array_equal(paste_faces(photo, [crop], [crop + 1], [matrix]), photo)


def test_no_face_is_a_copy() -> None:
    photo = noise(np.uint8)
    pasted = paste_faces(photo, [], [], [])
    np.testing.assert_array_equal(pasted, photo)
    assert pasted is not photo


@pytest.mark.parametrize("shapes", [((64, 64, 3), (32, 32, 3)), ((64, 32, 3), (64, 32, 3)), ((64, 64), (64, 64))])
def test_crops_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    given, restored = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(ContractError, match="square crops"):
        paste_faces(noise(np.uint8), [given], [restored], [np.eye(2, 3)])


def test_pasting_over_the_photograph_gives_the_same_and_spares_a_copy() -> None:
    photo, matrix = astronaut().copy(), np.array([[0.5, 0, -75], [0, 0.5, -25]])
    given = [to_float(align_face(photo, matrix, 64))]
    changed = [np.clip(given[0] + np.float32(0.1), 0, 1)]
    copied = paste_faces(photo, given, changed, [matrix])
    np.testing.assert_array_equal(photo, astronaut())
    over = paste_faces(photo, given, changed, [matrix], overwrite=True)
    assert over is photo
    np.testing.assert_array_equal(over, copied)


def test_pixels_that_cannot_be_written_over_are_copied() -> None:
    photo, matrix = astronaut().copy(), np.array([[0.5, 0, -75], [0, 0.5, -25]])
    photo.setflags(write=False)
    given = [to_float(align_face(photo, matrix, 64))]
    assert paste_faces(photo, given, [given[0] * np.float32(0.5)], [matrix], overwrite=True) is not photo
    np.testing.assert_array_equal(photo, astronaut())
