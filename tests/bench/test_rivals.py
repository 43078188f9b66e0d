"""The race times everybody in one run, with a product of matrices among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketface.bench.candidates import Candidate
from pocketface.bench.rivals import Raced, race, rows_of
from pocketface.runtime.errors import InputError

from .fakes import save_student


def test_a_checkpoint_is_raced_in_both_formats_with_its_work_counted(tmp_path: Path) -> None:
    student = save_student(tmp_path / "tiny.safetensors")
    results, peak = race([Candidate("tiny", str(student))], 32, 2)
    assert [one.label for one in results] == ["tiny onnx", "tiny tflite"]
    assert peak > 1  # GFLOP/s: any machine of this century
    for one in results:
        assert one.gmac is not None
        assert one.gflops is not None
        assert one.gflops == pytest.approx(2 * one.gmac / (one.median_ms / 1e3))
        assert one.share == pytest.approx(one.gflops / peak)


def test_a_file_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    from pocketface.export.deploy_graph import build_deploy_graph
    from pocketface.export.to_onnx import write_onnx
    from pocketface.runtime.models.checkpoint import load_model

    model, _ = load_model(save_student(tmp_path / "tiny.safetensors"))
    write_onnx(build_deploy_graph(model), 64, "fp32", tmp_path / "a.onnx")
    with pytest.raises(InputError, match="another fixed size"):
        race([Candidate("rival", str(tmp_path / "a.onnx"))], 32, 1)


def test_times_are_told_against_the_first() -> None:
    rows = rows_of([Raced("base", 10.0, 1.0, 200.0, 0.8, 1.0), Raced("rival", 1600.0, None, None, None, 150.0)], 250.0)
    assert rows[1] == ["base", "10.0", "1.00", "200.0", "80%", "1.00"]
    assert rows[2] == ["rival", "1600.0", "-", "-", "-", "150.00"]
    assert rows[3][3] == "250.0"
