"""Sizes against closed forms."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from pocketface.bench.candidates import Candidate
from pocketface.bench.size import count_macs, count_parameters, measure_sizes
from pocketface.runtime.errors import InputError
from pocketface.runtime.models.student import StudentRestorer


def test_a_convolution_counts_as_its_formula_says() -> None:
    dense = nn.Conv2d(3, 8, 5, padding=2)
    assert count_macs(dense, 16) == 16 * 16 * 8 * 3 * 25
    assert count_parameters(dense) == 8 * 3 * 25 + 8
    strided = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 3, padding=1, groups=6))
    assert count_macs(strided, 16) == 4 * 4 * 6 * (3 * 16 + 9)


def test_work_grows_with_the_area_of_the_face() -> None:
    student = StudentRestorer().eval()
    assert count_macs(student, 64) == 4 * count_macs(student, 32)


def test_a_checkpoint_tells_its_network_and_another_file_its_bytes(student: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.tflite"
    other.write_bytes(b"x" * 1234)
    candidates = [
        Candidate("student", str(student), "fp32", "pytorch"),
        Candidate("file", str(other), "int8", "tflite"),
    ]
    network, file = measure_sizes(candidates, [64])
    assert network.bytes == student.stat().st_size
    assert network.parameters is not None
    assert network.macs[64] > 0
    assert (file.bytes, file.parameters, file.macs) == (1234, None, {})


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing at"):
        measure_sizes([Candidate("file", str(tmp_path / "none.onnx"))], [64])
