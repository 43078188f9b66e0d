from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from pocketface.export.deploy_graph import trace
from pocketface.export.quantise import Quantization, per_tensor
from pocketface.export.tflite_builder import TFLiteBuilder
from pocketface.export.to_tflite import Labels, write_tflite_graph
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.backends.tflite_file import check_tflite
from pocketface.runtime.errors import BackendError, ContractError
from pocketface.runtime.restorer import Faces

SIZE = 8


class _Smear(nn.Module):
    """Mixes channels and places differently in every direction, and leaves [0, 1]: any mix-up of axes shows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, (3, 5), padding=(1, 2))

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image)


def _faces(count: int) -> Faces:
    return np.random.default_rng(1).random((count, 3, SIZE, SIZE), np.float32)


@pytest.fixture
def smear(tmp_path: Path) -> Path:
    path = tmp_path / "smear.tflite"
    write_tflite_graph(trace(_Smear()), [(1, 3, SIZE, SIZE)], path, labels=Labels(facts={"name": "smear-8"}))
    return path


def _write_ends(path: Path, dtype: type[np.generic], quantization: Quantization | None) -> Path:
    """Write a file that gives back the 8-bit image it takes."""
    builder = TFLiteBuilder()
    ends = [builder.tensor(name, (1, SIZE, SIZE, 3), dtype, quantization) for name in ("image", "restored")]
    shape = builder.constant("shape", np.array([1, SIZE, SIZE, 3], np.int32))
    builder.operator("RESHAPE", 1, [ends[0], shape], ends[1:], schema.ReshapeOptionsT())
    path.write_bytes(builder.to_bytes("", "restore", {"image": ends[0]}, {"restored": ends[1]}))
    return path


@pytest.mark.parametrize("count", [1, 3])
def test_keeps_the_contract_whatever_the_file_wants(smear: Path, count: int) -> None:
    faces = _faces(count)
    with torch.no_grad():
        raw = _Smear()(torch.from_numpy(faces)).numpy()
    assert raw.min() < 0  # there is something to clamp
    restored = open_restorer(smear, threads=1)(faces)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, raw.clip(0, 1), atol=1e-6)  # 45 products in another order


def test_tells_what_it_is(smear: Path) -> None:
    info = open_restorer(smear).info
    assert (info.name, info.engine, info.device) == ("smear-8", "litert", "cpu")
    assert (info.size, info.native_size, info.multiple) == (SIZE, SIZE, SIZE)
    assert info.sha256 == hashlib.sha256(smear.read_bytes()).hexdigest()


def test_a_file_without_our_metadata_is_called_after_its_file(tmp_path: Path) -> None:
    assert open_restorer(_write_ends(tmp_path / "other.tflite", np.uint8, per_tensor(1 / 255, 0))).info.name == "other"


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"), [(np.uint8, 1 / 255, 0), (np.int8, 1 / 255, -128), (np.uint8, 1 / 200, 0)]
)
def test_8_bit_ends_round_to_the_nearest_level(
    tmp_path: Path, dtype: type[np.generic], scale: float, zero_point: int
) -> None:
    restorer = open_restorer(_write_ends(tmp_path / "a.tflite", dtype, per_tensor(scale, zero_point)))
    faces = _faces(2)
    expected = np.rint(faces / np.float32(scale)) * np.float32(scale)
    np.testing.assert_allclose(restorer(faces), expected.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("side", [SIZE // 2, SIZE * 2])
def test_other_sizes_are_refused(smear: Path, side: int) -> None:
    with pytest.raises(ContractError, match="8 x 8"):
        open_restorer(smear)(np.zeros((1, 3, side, side), np.float32))


def test_a_file_cut_anywhere_is_refused(smear: Path) -> None:
    """Above all: it must not reach tflite-runtime, which would end the process."""
    content = smear.read_bytes()
    for length in range(len(content)):
        with pytest.raises(BackendError):
            check_tflite(content[:length], smear)
    smear.write_bytes(content[: len(content) // 2])
    with pytest.raises(BackendError, match="a whole TFLite file"):
        open_restorer(smear)


def test_changed_bytes_raise_nothing_else(smear: Path) -> None:
    content, random = smear.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(8, len(content), 4):
            damaged[place] ^= int(random.integers(1, 256))
        try:
            check_tflite(bytes(damaged), smear)
        except BackendError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("content", [b"", b"TFL3", b"not a model at all, but of some length" * 9])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    with pytest.raises(BackendError, match="a TFLite file"):
        open_restorer(path)


def test_a_whole_file_that_the_interpreter_refuses_is_refused(tmp_path: Path) -> None:
    builder = TFLiteBuilder()
    ends = [builder.tensor(name, (1, SIZE, SIZE, 3), np.float32) for name in ("image", "restored")]
    builder.operator("RELU", 99, ends[:1], ends[1:])
    path = tmp_path / "a.tflite"
    path.write_bytes(builder.to_bytes("", "restore", {"image": ends[0]}, {"restored": ends[1]}))
    with pytest.raises(BackendError, match="that litert runs"):
        open_restorer(path)


def test_a_network_that_is_no_restorer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    write_tflite_graph(trace(nn.Sequential(nn.Conv2d(3, 3, 2, 2))), [(1, 3, SIZE, SIZE)], path)
    with pytest.raises(BackendError, match="one size"):
        open_restorer(path)
    write_tflite_graph(trace(nn.Sequential(nn.Conv2d(3, 4, 1))), [(1, 3, SIZE, SIZE)], path)
    with pytest.raises(BackendError, match=r"\(1, S, S, 3\)"):
        open_restorer(path)


def test_levels_without_a_scale_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="with a scale"):
        open_restorer(_write_ends(tmp_path / "a.tflite", np.uint8, None))


def test_only_the_cpu_is_offered(smear: Path) -> None:
    assert open_restorer(smear, device="cpu").info.device == "cpu"
    with pytest.raises(BackendError, match="device cpu"):
        open_restorer(smear, device="cuda")


def test_the_older_interpreter_is_taken_and_named_where_it_is_the_only_one(
    smear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = ModuleType("tflite_runtime.interpreter")
    older.Interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter  # pyright: ignore[reportAttributeAccessIssue] - a stand-in
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", older)
    restorer = open_restorer(smear)
    assert restorer.info.engine == "tflite_runtime"
    assert restorer(_faces(1)).shape == (1, 3, SIZE, SIZE)


def test_without_an_interpreter_it_says_what_to_install(smear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match="pip install ai-edge-litert"):
        open_restorer(smear)
