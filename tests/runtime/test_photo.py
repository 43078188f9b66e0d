from __future__ import annotations

import json
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.errors import ContractError
from pocketface.runtime.faces.align import FFHQ, align_face, transform_points
from pocketface.runtime.faces.detect import Detection
from pocketface.runtime.faces.paste import soft_mask
from pocketface.runtime.images import Metadata, Photo, to_float
from pocketface.runtime.options import PhotoOptions
from pocketface.runtime.photo import restore_photo
from pocketface.runtime.restorer import Faces, RestorerInfo, check_faces

LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])


class FixedDetector:
    """Finds faces where it is told to."""

    name = "fixed"

    def __init__(self, *landmarks: NDArray[np.float64]) -> None:
        self.landmarks = landmarks

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        assert image.dtype == np.uint8
        return [Detection((150, 50, 290, 200), 0.9 - 0.1 * i, points) for i, points in enumerate(self.landmarks)]


class FakeRestorer:
    """Applies a function to faces under the contract, and remembers how often."""

    info = RestorerInfo("fake", "numpy", "cpu", None, 32, 128, "")

    def __init__(self, change: Callable[[Faces], Faces] = lambda faces: faces) -> None:
        self.change = change
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, faces: Faces) -> Faces:
        check_faces(faces, self.info)
        self.calls.append(faces.shape)
        return np.clip(self.change(faces), 0, 1).astype(np.float32)


def sharpened(faces: Faces) -> Faces:
    blurred = [cv2.GaussianBlur(face.transpose(1, 2, 0), (0, 0), 2).transpose(2, 0, 1) for face in faces]
    return (faces + 1.5 * (faces - np.stack(blurred))).astype(np.float32)


def reddened(faces: Faces) -> Faces:
    return faces + np.array([0.2, 0, -0.1], np.float32)[:, None, None]


def in_depth(rgb: NDArray[np.uint8], depth: type) -> NDArray[np.uint8 | np.uint16]:
    return rgb if depth is np.uint8 else rgb.astype(np.uint16) * 257


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_face_is_restored_and_the_rest_of_the_photograph_is_not_touched(depth: type) -> None:
    photo = Photo(in_depth(astronaut(), depth))
    result = restore_photo(photo, FakeRestorer(sharpened), FixedDetector(LANDMARKS))
    (face,) = result.faces
    again = to_float(align_face(result.photo.rgb, face.matrix, 128))
    full = soft_mask(128) == 1
    assert np.abs(again - face.restored)[full].mean() < 0.3 * np.abs(face.given - face.restored)[full].mean()
    assert result.photo.rgb.dtype == depth
    np.testing.assert_array_equal(result.photo.rgb[300:], photo.rgb[300:])
    np.testing.assert_array_equal(result.photo.rgb[:, 350:], photo.rgb[:, 350:])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize(("change", "strength"), [(lambda faces: faces, 1.0), (sharpened, 0.0)])
def test_nothing_changes_where_nothing_is_restored(
    depth: type, change: Callable[[Faces], Faces], strength: float
) -> None:
    photo = Photo(in_depth(astronaut(), depth))
    result = restore_photo(photo, FakeRestorer(change), FixedDetector(LANDMARKS), PhotoOptions(strength=strength))
    assert len(result.faces) == 1
    np.testing.assert_array_equal(result.photo.rgb, photo.rgb)


def test_half_the_strength_is_half_the_change() -> None:
    photo = Photo(astronaut())
    results = [
        restore_photo(
            photo, FakeRestorer(reddened), FixedDetector(LANDMARKS), PhotoOptions(strength=strength)
        ).photo.rgb
        for strength in (0.5, 1.0)
    ]
    half, whole = (result.astype(float) - photo.rgb for result in results)
    unclipped = (results[1] > 0) & (results[1] < 255)
    # Each is rounded to levels.
    assert np.abs(2 * half - whole)[unclipped].max() <= 1.5


def test_no_face_gives_back_the_very_photograph_without_asking_the_restorer() -> None:
    photo = Photo(astronaut())
    restorer = FakeRestorer()
    result = restore_photo(photo, restorer, FixedDetector())
    assert result.photo is photo
    assert result.faces == ()
    assert restorer.calls == []


def test_all_faces_are_restored_in_one_batch_and_recorded_best_first() -> None:
    photo = Photo(np.concatenate([astronaut(), astronaut()], axis=1))
    restorer = FakeRestorer(reddened)
    result = restore_photo(photo, restorer, FixedDetector(LANDMARKS, LANDMARKS + np.array([512, 0])))
    assert restorer.calls == [(2, 3, 128, 128)]
    assert [face.detection.score for face in result.faces] == [0.9, 0.8]
    change = result.photo.rgb.astype(int) - photo.rgb
    # The same picture, the same landmarks but for a whole shift: the same change, but for float64 rounding.
    assert np.abs(change[:, :512] - change[:, 512:]).max() <= 1
    assert change[120, 220, 0] > 20


def test_the_crop_is_aligned_and_of_the_size_asked_for() -> None:
    restorer = FakeRestorer()
    (face,) = restore_photo(Photo(astronaut()), restorer, FixedDetector(LANDMARKS), PhotoOptions(size=64)).faces
    assert restorer.calls == [(1, 3, 64, 64)]
    # A face is no template: anatomy and pose leave a few per cent.
    assert np.abs(transform_points(face.matrix, LANDMARKS) - FFHQ.scaled(64)).max() < 0.06 * 64


def test_grey_stays_grey() -> None:
    grey = np.repeat(astronaut()[:, :, :1], 3, axis=2)
    result = restore_photo(Photo(grey, grey=True), FakeRestorer(reddened), FixedDetector(LANDMARKS))
    assert result.photo.grey
    assert np.ptp(result.photo.rgb, axis=2).max() == 0
    assert (result.photo.rgb != grey).any()
    coloured = restore_photo(Photo(grey), FakeRestorer(reddened), FixedDetector(LANDMARKS))
    assert np.ptp(coloured.photo.rgb, axis=2).max() > 20


def test_alpha_and_metadata_pass_through() -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
    photo = Photo(astronaut(), alpha, metadata=Metadata(b"profile", b"exif", (72.0, 72.0)))
    result = restore_photo(photo, FakeRestorer(sharpened), FixedDetector(LANDMARKS))
    assert result.photo.alpha is alpha
    assert result.photo.metadata is photo.metadata


def test_the_record_is_json_and_complete() -> None:
    result = restore_photo(Photo(astronaut()), FakeRestorer(sharpened), FixedDetector(LANDMARKS))
    record = json.loads(json.dumps(result.faces[0].to_json()))
    np.testing.assert_allclose(record["landmarks"], LANDMARKS)
    np.testing.assert_allclose(record["matrix"], result.faces[0].matrix)
    assert record["box"] == [150, 50, 290, 200]
    assert record["score"] == 0.9
    assert record["mean_change"] > 0


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_an_impossible_strength_is_refused(strength: float) -> None:
    with pytest.raises(ContractError, match="strength"):
        restore_photo(Photo(astronaut()), FakeRestorer(), FixedDetector(LANDMARKS), PhotoOptions(strength=strength))


def test_a_size_that_the_restorer_does_not_take_is_refused() -> None:
    with pytest.raises(ContractError, match="divisible by 32"):
        restore_photo(Photo(astronaut()), FakeRestorer(), FixedDetector(LANDMARKS), PhotoOptions(size=100))
