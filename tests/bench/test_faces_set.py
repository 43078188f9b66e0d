"""The faces that proofs run on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pocketface.bench.faces_set import astronaut_faces, folder_faces, to_image
from pocketface.runtime.errors import ContractError, InputError
from pocketface.runtime.faces.degrade import LEVELS
from pocketface.runtime.images import to_faces
from pocketface.runtime.metrics import psnr
from pocketface.runtime.restorer import check_faces

from .fakes import save_crops


def write_face(path: Path, value: int, size: int = 32, width: int | None = None) -> None:
    image = np.random.default_rng(value).integers(0, 255, (size, width or size, 3), np.uint8)
    cv2.imwrite(str(path), image)


def test_the_astronaut_comes_in_every_level_and_five_renderings() -> None:
    faces = astronaut_faces(128)
    check_faces(faces.inputs)
    check_faces(faces.targets)
    assert faces.names[: len(LEVELS)] == tuple(LEVELS)
    assert len(faces.names) == len(set(faces.names)) == len(faces.inputs) == len(LEVELS) + 5
    # Every face is truly degraded, and none beyond recognition.
    scores = psnr(faces.inputs, faces.targets)
    assert ((scores > 12) & (scores < 45)).all()


def test_the_same_faces_come_every_time() -> None:
    np.testing.assert_array_equal(astronaut_faces(64).inputs, astronaut_faces(64).inputs)


def test_pixels_survive_the_way_there_and_back() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(to_image(to_faces([image])[0]), image)


def test_a_plain_folder_gives_all_its_crops_at_the_size_asked_for(tmp_path: Path) -> None:
    for index in range(3):
        write_face(tmp_path / f"{index}.png", index)
    faces = folder_faces(tmp_path, 64)
    assert faces.inputs.shape == (3, 3, 64, 64)
    assert faces.names == ("0, mild", "1, medium", "2, severe")


def test_a_limit_spreads_over_the_folder(tmp_path: Path) -> None:
    for index in range(6):
        write_face(tmp_path / f"{index}.png", index)
    assert [name[0] for name in folder_faces(tmp_path, 32, limit=3).names] == ["0", "2", "4"]


def test_only_people_held_out_are_taken_where_the_folder_has_a_table(tmp_path: Path) -> None:
    save_crops(tmp_path, {"a": "train", "b": "validation", "c": "train"})
    assert folder_faces(tmp_path, 32).names == ("b, mild",)


def test_an_empty_folder_and_a_crop_that_is_not_square_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="aligned crops"):
        folder_faces(tmp_path, 32)
    write_face(tmp_path / "wide.png", 0, width=48)
    with pytest.raises(ContractError, match="square"):
        folder_faces(tmp_path, 32)
