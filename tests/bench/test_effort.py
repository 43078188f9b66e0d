"""How much training a checkpoint tells of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketface.bench.candidates import named_candidates
from pocketface.bench.effort import effort_of, efforts_of, faces_by_step
from pocketface.bench.size import count_macs
from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.models.checkpoint import load_model

from .fakes import save_student

RECIPE: dict[str, Any] = {
    "optimiser": {"accumulate": 2},
    "stages": [{"steps": 3, "batch": 4, "crop": 32}, {"steps": 5, "batch": 1, "crop": 64}],
}


def test_the_stages_begun_count_with_their_batches_and_crops(tmp_path: Path) -> None:
    file = save_student(tmp_path / "trained.safetensors", training={"recipe": RECIPE, "steps": 5})
    effort = effort_of(file)
    assert effort is not None
    assert effort.faces == 3 * 4 * 2 + 2 * 1 * 2
    model, _ = load_model(file)
    assert effort.macs == 24 * count_macs(model, 32) + 4 * count_macs(model, 64)


def test_files_that_tell_nothing_are_left_out(student: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"x")
    assert effort_of(other) is None
    trained = save_student(tmp_path / "trained.safetensors", training={"recipe": RECIPE, "steps": 1})
    begun = RECIPE | {"model": {"start": "teacher.safetensors"}}
    further = save_student(tmp_path / "further.safetensors", training={"recipe": begun, "steps": 1})
    words = [f"untold={student}", f"told={trained}", f"onnx={other}", f"further={further}"]
    assert list(efforts_of(named_candidates(words, ()))) == ["told"]


def test_a_run_counts_what_it_began_with(tmp_path: Path) -> None:
    begun = RECIPE | {"model": {"start": "first.safetensors"}}
    before = {"recipe": RECIPE, "steps": 2}
    file = save_student(tmp_path / "second.safetensors", training={"recipe": begun, "steps": 1, "began_with": before})
    effort = effort_of(file)
    assert effort is not None
    assert effort.faces == (1 + 2) * 4 * 2


def test_faces_are_counted_step_by_step() -> None:
    np.testing.assert_array_equal(faces_by_step({"recipe": RECIPE}, 5), [8, 16, 24, 26, 28])


def test_a_header_that_tells_fewer_steps_is_refused() -> None:
    with pytest.raises(CheckpointError, match="batches of 9 steps"):
        faces_by_step({"recipe": RECIPE}, 9)
