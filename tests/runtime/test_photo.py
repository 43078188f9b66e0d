from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.companions import Companions
from pocketface.runtime.errors import ContractError
from pocketface.runtime.faces.align import FFHQ, align_face, transform_points
from pocketface.runtime.faces.detect import Detection
from pocketface.runtime.faces.paste import soft_mask
from pocketface.runtime.images import Metadata, Photo, to_float, to_uint8
from pocketface.runtime.options import PhotoOptions
from pocketface.runtime.photo import PhotoResult, restore_photo
from pocketface.runtime.restorer import Faces, RestorerInfo, check_faces

LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])


class FixedDetector:
    """Finds faces where it is told to."""

    name = "fixed"

    def __init__(self, *landmarks: NDArray[np.float64]) -> None:
        self.landmarks = landmarks
        self.boxes: list[tuple[float, float, float, float]] = [(150, 50, 290, 200)] * len(landmarks)

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        assert image.dtype == np.uint8
        found = zip(self.boxes, self.landmarks, strict=True)
        return [Detection(box, 0.9 - 0.1 * i, points) for i, (box, points) in enumerate(found)]


class FakeRestorer:
    """Applies a function to faces under the contract, and remembers how often."""

    info = RestorerInfo("fake", "numpy", "cpu", None, 32, 128, "")

    def __init__(self, change: Callable[[Faces], Faces] = lambda faces: faces) -> None:
        self.change = change
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:  # noqa: ARG002 - the contract's
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


class Alike:
    """An identity by mean level, and a map of which nothing seems covered unless a share is given."""

    def __init__(self, hidden: float = 0.0) -> None:
        self.hidden = hidden

    def embed_and_map(self, faces: Faces) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self(faces), np.full((len(faces), 7, 7, 512), self.hidden, np.float32)

    def __call__(self, faces: Faces) -> NDArray[np.float32]:
        angles = (faces[:, :, 32:96, 32:96].mean((1, 2, 3)) - 0.5) * np.pi
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The covered share is what the fake's map says."""
    monkeypatch.setattr("pocketface.runtime.photo.hidden_share", lambda maps: maps.mean((1, 2, 3)))


def with_identity(hidden: float = 0.0) -> Companions:
    return Companions(identity=Alike(hidden))  # pyright: ignore[reportArgumentType] - a fake


TWO = np.concatenate([astronaut(), astronaut()], axis=1)


class UprightDetector(FixedDetector):
    """Finds its faces in TWO alone, and not in its quarter turns."""

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        return super().__call__(image) if np.array_equal(image[0], TWO[0]) else []


BOTH = UprightDetector(LANDMARKS, LANDMARKS + np.array([512, 0]))
BOTH.boxes = [(150, 50, 290, 200), (662, 50, 802, 200)]


def change_of(result: PhotoResult, given: NDArray[np.uint8] = TWO) -> NDArray[np.int_]:
    return np.abs(result.photo.rgb.astype(int) - given).sum(axis=2)


@pytest.mark.usefixtures("shares")
def test_a_stranger_is_weakened_until_it_is_the_same_person_and_logged() -> None:
    whitened = FakeRestorer(lambda faces: faces + np.float32(0.5))
    floor = 0.9
    (face,) = restore_photo(
        Photo(astronaut()), whitened, FixedDetector(LANDMARKS), PhotoOptions(guard=floor), with_identity()
    ).faces
    assert (face.status, face.reason) == ("weakened", "identity")
    assert 0 < face.strength < 1
    assert face.cosine is not None
    assert face.cosine >= floor
    assert face.angle == pytest.approx(np.degrees(np.arccos(face.cosine)))
    (kept,) = restore_photo(
        Photo(astronaut()), whitened, FixedDetector(LANDMARKS), PhotoOptions(guard=0.9999), with_identity()
    ).faces
    assert (kept.status, kept.reason, kept.strength) == ("kept", "identity", 0.0)


@pytest.mark.usefixtures("shares")
def test_where_every_face_is_kept_the_very_photograph_comes_back() -> None:
    photo = Photo(astronaut())
    whitened = FakeRestorer(lambda faces: faces + np.float32(0.5))
    result = restore_photo(photo, whitened, FixedDetector(LANDMARKS), PhotoOptions(guard=0.9999), with_identity())
    assert result.photo is photo
    assert "same person" in result.describe()


@pytest.mark.usefixtures("shares")
@pytest.mark.parametrize(
    ("hidden", "wish", "status", "strength"),
    [
        (0.2, "lower", "restored", 1.0),
        (0.45, "lower", "weakened", 0.5),
        (0.7, "lower", "kept", 0.0),
        (0.45, "skip", "kept", 0.0),
        (0.7, "ignore", "restored", 1.0),
    ],
)
def test_covered_faces_are_restored_more_weakly_or_not_at_all(
    hidden: float, wish: str, status: str, strength: float
) -> None:
    options = PhotoOptions(strength=1.0, hidden=wish, guard=None)
    restorer = FakeRestorer(reddened)
    (face,) = restore_photo(
        Photo(astronaut()), restorer, FixedDetector(LANDMARKS), options, with_identity(hidden)
    ).faces
    assert face.status == status
    assert face.strength == pytest.approx(strength, abs=1e-5)
    assert face.hidden == pytest.approx(hidden)
    assert len(restorer.calls) == (strength > 0)
    if strength:
        assert np.abs(face.restored - face.given).mean() > 0


def test_only_the_chosen_face_is_restored_and_both_are_recorded() -> None:
    options = PhotoOptions(choose="right", guard=None, hidden="ignore")
    detector = FixedDetector(LANDMARKS, LANDMARKS)
    detector.boxes = [(150, 50, 290, 200), (662, 50, 802, 200)]
    detector.landmarks = (LANDMARKS, LANDMARKS + np.array([512, 0]))
    result = restore_photo(Photo(TWO), FakeRestorer(reddened), detector, options)
    assert [(face.status, face.reason) for face in result.faces] == [("kept", "not chosen"), ("restored", "")]
    assert not change_of(result)[:, :512].any()
    assert change_of(result)[:, 512:].any()


@pytest.mark.parametrize(("wish", "covered"), [("others", [False, True]), ("all", [True, True])])
def test_whoever_is_not_chosen_is_made_anonymous_before_anything_is_pasted(wish: str, covered: list[bool]) -> None:
    options = PhotoOptions(choose="surest", guard=None, hidden="ignore", anonymise=wish)
    photo = Photo(TWO, metadata=Metadata(exif=b"not a block"))
    result = restore_photo(photo, FakeRestorer(reddened), BOTH, options)
    assert [face.status == "anonymised" for face in result.faces] == covered
    assert result.photo.metadata.exif is None
    for face, gone in zip(result.faces, covered, strict=True):
        x, y = face.detection.landmarks[2].astype(int)
        around = result.photo.rgb[y - 20 : y + 20, x - 20 : x + 20].astype(float)
        assert (np.abs(np.diff(around, axis=1)).max() < 5) == gone
        if gone:  # nor does the record keep the face
            assert np.abs(np.diff(face.given[40:90, 40:90], axis=1)).max() < 0.05


def test_a_face_can_be_enlarged_with_its_photograph() -> None:
    options = PhotoOptions(upscale=2, guard=None, hidden="ignore")
    given = Photo(astronaut())
    still = restore_photo(given, FakeRestorer(), FixedDetector(LANDMARKS), options)
    assert still.photo.rgb.shape == (1024, 1024, 3)
    result = restore_photo(given, FakeRestorer(reddened), FixedDetector(LANDMARKS), options)
    change = change_of(result, to_uint8(still.photo.rgb))
    weights = change / change.sum()
    y, x = (float((weights.sum(axis=axis) * (np.arange(1024) + 0.5)).sum()) for axis in (1, 0))
    small = restore_photo(given, FakeRestorer(reddened), FixedDetector(LANDMARKS), PhotoOptions(guard=None))
    around = change_of(small, to_uint8(given.rgb))
    around = around / around.sum()
    wanted = [float((around.sum(axis=axis) * (np.arange(512) + 0.5)).sum()) * 2 for axis in (1, 0)]
    # The same place in pixel edges: half a pixel of the enlarged photograph is what rounding may shift.
    assert (y, x) == pytest.approx(wanted, abs=0.5)


def test_styles_colours_and_blends_reach_the_photograph() -> None:
    given = Photo(astronaut())
    plain = PhotoOptions(guard=None, hidden="ignore")
    first = restore_photo(given, FakeRestorer(sharpened), FixedDetector(LANDMARKS), plain).photo.rgb
    for wish in (
        {"style": "clear"}, {"style": "cinematic"}, {"sharpness": 0.7}, {"saturation": 0.2}, {"blend": "poisson"},
        {"match_colour": True}, {"colour": "balance"}, {"colour": "revive"},
    ):  # fmt: skip
        options = replace(plain, **wish)
        other = restore_photo(given, FakeRestorer(sharpened), FixedDetector(LANDMARKS), options).photo.rgb
        assert (other != first).any(), wish
        whole = "colour" in wish or wish == {"style": "cinematic"}
        assert (other[300:] != first[300:]).any() == whole, wish


def test_stages_are_timed_in_order() -> None:
    result = restore_photo(Photo(astronaut()), FakeRestorer(), FixedDetector(LANDMARKS), companions=with_identity())
    assert list(result.seconds)[:4] == ["colour", "detect", "align", "identify"]
    assert all(seconds >= 0 for seconds in result.seconds.values())
