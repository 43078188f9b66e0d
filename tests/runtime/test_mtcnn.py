from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.faces import mtcnn
from pocketface.runtime.faces.detect import Detection, detect_faces
from pocketface.runtime.faces.mtcnn import MtcnnDetector

# Found by RetinaFace with MobileNet 0.25, with which MTCNN has nothing in common.
LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])
# Two detectors that are right differ by about that much (docs/photos.md), as a share of the distance between the eyes.
AGREEMENT = 0.05
MIRROR_ORDER = [1, 0, 2, 4, 3]


@pytest.fixture(scope="module")
def detector() -> MtcnnDetector:
    return MtcnnDetector(threads=1)


def error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Mean distance of landmarks as a share of the distance between the eyes."""
    return float(np.linalg.norm(found - expected, axis=1).mean() / np.linalg.norm(expected[1] - expected[0]))


def the_one(found: list[Detection]) -> Detection:
    assert len(found) == 1
    return found[0]


def test_the_astronaut_is_found(detector: MtcnnDetector) -> None:
    face = the_one(detector(astronaut()))
    assert error(face.landmarks, LANDMARKS) < AGREEMENT
    left, top, right, bottom = face.box
    assert left < face.landmarks[:, 0].min() < face.landmarks[:, 0].max() < right
    assert top < face.landmarks[:, 1].min() < face.landmarks[:, 1].max() < bottom
    assert 0.9 < face.score <= 1


def test_looking_twice_gives_the_same(detector: MtcnnDetector) -> None:
    first = the_one(detector(astronaut()))
    detector(astronaut()[:200])  # other sizes in between must leave nothing behind
    again = the_one(detector(astronaut()))
    assert first.box == again.box
    np.testing.assert_array_equal(first.landmarks, again.landmarks)


def test_a_mirrored_face_has_mirrored_landmarks(detector: MtcnnDetector) -> None:
    face = the_one(detector(np.ascontiguousarray(astronaut()[:, ::-1])))
    expected = (LANDMARKS * (-1, 1) + (511, 0))[MIRROR_ORDER]
    assert error(face.landmarks, expected) < AGREEMENT


@pytest.mark.parametrize("angle", [-25, 15, 30])
def test_a_tilted_head_is_found(detector: MtcnnDetector, angle: float) -> None:
    turn = cv2.getRotationMatrix2D((224, 120), angle, 1)
    tilted = cv2.warpAffine(astronaut(), turn, (512, 512), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)
    expected = LANDMARKS @ turn[:, :2].T + turn[:, 2]
    assert error(the_one(detector(tilted)).landmarks, expected) < AGREEMENT


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_size_does_not_matter(detector: MtcnnDetector, scale: float) -> None:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=method).astype(np.uint8)
    ratio = picture.shape[0] / 512
    face = the_one(detect_faces(detector, picture))
    # At a third the eyes are 14 pixels apart: a third of a pixel more.
    assert error(face.landmarks, (LANDMARKS + 0.5) * ratio - 0.5) < AGREEMENT + 0.02


def test_every_face_of_a_group_is_found_and_the_edge_does_no_harm(detector: MtcnnDetector) -> None:
    face = astronaut()[40:200, 150:300]
    row = np.concatenate([face, face[:, ::-1], face], axis=1)
    assert len(detector(np.ascontiguousarray(row))) == 3
    cropped = astronaut()[:, 200:]  # through the picture's left eye
    assert all(np.isfinite(one.landmarks).all() for one in detector(np.ascontiguousarray(cropped)))


@pytest.mark.parametrize("name", ["chelsea", "coffee", "brick", "gravel", "coins", "motorcycle_left"])
def test_what_is_no_face_is_not_found(detector: MtcnnDetector, name: str) -> None:
    file = Path(skimage.__file__).parent / "data" / f"{name}.png"
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    assert picture is not None
    assert detector(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)) == []


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 1, 3), (16, 300, 3), (600, 24, 3)])
def test_odd_pictures_hold_no_face(detector: MtcnnDetector, shape: tuple[int, ...]) -> None:
    assert detector(np.random.default_rng(0).integers(0, 256, shape, np.uint8)) == []


def test_the_smallest_face_is_what_was_asked_for() -> None:
    small = cv2.resize(astronaut(), (128, 128), interpolation=cv2.INTER_AREA).astype(np.uint8)  # a face of 25 pixels
    assert MtcnnDetector(threads=1, smallest_face=64)(small) == []
    assert len(MtcnnDetector(threads=1, smallest_face=24)(small)) == 1


def test_real_photographs(shared: Path, detector: MtcnnDetector) -> None:
    with (shared / "faces" / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::34]
    errors: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        picture = cv2.imread(str(shared / "faces" / row["file"]), cv2.IMREAD_COLOR)
        assert picture is not None
        found = detect_faces(detector, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8))
        expected = np.array(row["landmarks5"].split(), float).reshape(5, 2)
        assert len(found) == 1, row["file"]
        errors["old" in row["group"]].append(error(found[0].landmarks, expected))
    assert len(errors[True]) + len(errors[False]) == 40
    assert np.mean(errors[False]) < AGREEMENT
    # Portraits from before 1930: RetinaFace's two networks, too, agree on them to no better than 5.3 %.
    assert np.mean(errors[True]) < 0.075


def test_patches_show_what_frames_ask_for() -> None:
    rng = np.random.default_rng(0)
    # A ramp in each direction: what is sampled tells where it was sampled, through any number of halvings.
    x, y = np.meshgrid(np.arange(240), np.arange(200))
    ramps = np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)
    frames = np.zeros((70, 2, 3))
    frames[:, 0, 0] = frames[:, 1, 1] = rng.uniform(24, 110, 70)
    frames[:, 0, 1], frames[:, 1, 0] = (slant := rng.uniform(-20, 0, 70)), -slant
    frames[:, :, 2] = rng.uniform(30, 80, (70, 2))
    places = (np.arange(24) + 0.5) / 24
    unit = np.stack([*np.meshgrid(places, places), np.ones((24, 24))])
    expected = np.einsum("nij,jrc->nrci", frames, unit) - 0.5
    shown = mtcnn._patches(mtcnn._octaves(ramps), frames, 24)
    # Levels are rounded by the halvings, the resampling, and its steps of a 32nd of a pixel.
    assert np.abs(shown[..., :2] - expected).max() < 1.5


def test_beyond_the_edge_patches_are_grey() -> None:
    frames = np.array([[[24.0, 0, -100], [0, 24.0, -100]]])
    assert (mtcnn._patches([astronaut()], frames, 24) == 127).all()
