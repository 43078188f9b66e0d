from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from pocketface.runtime.cli import main
from pocketface.runtime.faces.anonymise import anonymise_faces, covering_ellipse
from pocketface.runtime.faces.detect import Detection, detect_faces, open_detector
from pocketface.runtime.faces.turned import detect_any_way_up
from pocketface.runtime.images import read_photo

LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])
FACE = Detection((180, 65, 270, 170), 0.99, LANDMARKS)


def inside(face: Detection = FACE, shape: tuple[int, int] = (512, 512)) -> np.ndarray:
    (x, y), (wide, high) = covering_ellipse(face)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return ((columns - x) / wide) ** 2 + ((rows - y) / high) ** 2 <= 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_nothing_of_the_face_is_left_and_the_rest_stays(depth: type) -> None:
    picture = astronaut().astype(depth) * (1 if depth is np.uint8 else 257)
    covered = anonymise_faces(picture, [FACE])
    np.testing.assert_array_equal(covered[300:], picture[300:])
    np.testing.assert_array_equal(covered[:, 400:], picture[:, 400:])
    unit = np.iinfo(depth).max / 255
    # Neighbours differ by a level or two: not an edge of the face is left.
    steps = np.abs(np.diff(covered.astype(float), axis=1))[inside()[:, 1:] & inside()[:, :-1]]
    assert steps.max() < 4 * unit
    assert np.abs(covered.astype(float) - picture)[inside()].mean() > 10 * unit


def test_only_sixteen_means_enter_the_picture() -> None:
    """Any other face with the same means, in a region with the same bytes to seed from, would look the same."""
    picture, other = astronaut(), astronaut()
    jitter = np.random.default_rng(0).integers(-20, 21, other.shape)
    other = np.clip(other.astype(int) + jitter * inside()[:, :, None], 0, 255).astype(np.uint8)
    one, two = (anonymise_faces(given, [FACE])[inside()].astype(float) for given in (picture, other))
    # Other bytes, other noise: what is seen differs by more than the faces' own 16 means do.
    assert np.abs(one - two).mean() > 3


def test_the_same_photograph_gives_the_same_bytes() -> None:
    np.testing.assert_array_equal(anonymise_faces(astronaut(), [FACE]), anonymise_faces(astronaut(), [FACE]))


def test_no_detector_finds_the_face_again() -> None:
    detector = open_detector(threads=1)
    found = detect_faces(detector, astronaut())
    assert len(found) == 1
    assert detect_any_way_up(detector, anonymise_faces(astronaut(), found), "always") == []


@pytest.mark.parametrize(
    "box", [(-80, -80, 20, 20), (490, 490, 600, 620), (600, 600, 700, 700), (100, 100, 100, 100), (-9, -9, 600, 600)]
)
def test_faces_at_and_beyond_the_edge_are_no_crash(box: tuple[float, float, float, float]) -> None:
    face = Detection(box, 0.9, np.array([[box[0], box[1]]] * 5, float))
    assert anonymise_faces(astronaut(), [face]).shape == (512, 512, 3)


def test_grey_stays_grey_and_nobody_is_the_very_array() -> None:
    grey = np.repeat(astronaut()[:, :, :1], 3, axis=2)
    assert np.ptp(anonymise_faces(grey, [FACE]), axis=2).max() == 0
    assert anonymise_faces(grey, []) is grey


def test_the_exif_thumbnail_does_not_keep_the_face(tmp_path: Path) -> None:
    small = Image.fromarray(astronaut()).resize((96, 96))
    plain = tmp_path / "thumbnail.jpg"
    small.save(plain)
    thumbnail = plain.read_bytes()
    exif = Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(0x8769)[0x927C] = thumbnail  # as some cameras hide a preview in their notes
    Image.fromarray(astronaut()).save(tmp_path / "in.jpg", exif=exif)
    assert thumbnail in (tmp_path / "in.jpg").read_bytes()
    assert main(["restore", str(tmp_path / "in.jpg"), "-o", str(tmp_path / "out.jpg"), "--anonymise", "all"]) == 0
    written = (tmp_path / "out.jpg").read_bytes()
    assert thumbnail[-400:-300] not in written
    assert b"Maker" in written
    assert detect_any_way_up(open_detector(threads=1), read_photo(tmp_path / "out.jpg").rgb, "always") == []
