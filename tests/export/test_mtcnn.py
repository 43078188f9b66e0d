"""The detector's files hold the package's networks; skipped where the package `mtcnn` is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pocketface.export import mtcnn
from pocketface.runtime.backends.litert import find_interpreter
from pocketface.runtime.errors import CheckpointError

WEIGHTS = Path(mtcnn.__file__).parents[1] / "runtime" / "weights"
Weights: TypeAlias = list[NDArray[np.float32]]
Change: TypeAlias = Callable[[Weights], Weights]
SHAPES = {"pnet": (1, 33, 47, 3), "rnet": (3, 24, 24, 3), "onet": (2, 48, 48, 3)}


@pytest.fixture
def package() -> None:
    if importlib.util.find_spec("mtcnn") is None:  # importing it would ask for TensorFlow
        pytest.skip("the package mtcnn, which carries the weights, is not installed")


def run(content: bytes, given: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    interpreter = find_interpreter()[1](model_content=content, num_threads=1)
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, given.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, given)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("stage", mtcnn.STAGES)
def test_the_shipped_file_computes_what_the_package_does(stage: str, tmp_path: Path) -> None:
    given = np.random.default_rng(0).uniform(-1, 1, SHAPES[stage]).astype(np.float32)
    with torch.no_grad():
        expected = mtcnn.load_stage(stage)(torch.from_numpy(given.transpose(0, 3, 1, 2).copy()))
    mtcnn.write_stage(stage, tmp_path / "new.tflite")
    for path in (WEIGHTS / f"mtcnn_{stage}.tflite", tmp_path / "new.tflite"):
        found = run(path.read_bytes(), given)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            wanted = other.permute(0, 2, 3, 1) if other.ndim == 4 else other
            # Two engines sum in another order: float32 rounding of values of about 1.
            np.testing.assert_allclose(one, wanted.numpy(), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("package")
def test_the_command_writes_all_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mtcnn.main(["--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"mtcnn_{stage}.tflite" for stage in ("onet", "pnet", "rnet")
    ]
    assert capsys.readouterr().out.count("bytes") == 3


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtcnn.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match="pip install mtcnn"):
        mtcnn.load_stage("pnet")


@pytest.mark.parametrize("change", [lambda some: some[:-1], lambda some: [*some, some[0]], lambda some: some[::-1]])
def test_weights_of_another_layout_are_refused(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    network = mtcnn.MtcnnStage("pnet")
    some: Weights = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            shape = [module.weight.shape[axis] for axis in (2, 3, 1, 0)]
            some += [np.zeros(shape, np.float32), np.zeros(shape[3], np.float32)]
        elif isinstance(module, torch.nn.PReLU):
            some.append(np.zeros((1, 1, module.num_parameters), np.float32))

    def read(_: str) -> Iterator[NDArray[np.float32]]:
        return iter(some)

    monkeypatch.setattr(mtcnn, "_read_weights", read)
    assert mtcnn.load_stage("pnet")
    some = change(some)
    with pytest.raises(CheckpointError, match="pnet"):
        mtcnn.load_stage("pnet")
