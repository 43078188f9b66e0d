from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from pocketface.runtime.backends import ENGINES, open_restorer
from pocketface.runtime.backends.batches import restore_in_batches
from pocketface.runtime.backends.pytorch import PytorchRestorer
from pocketface.runtime.errors import BackendError, CheckpointError, ContractError, InputError
from pocketface.runtime.manifest import hash_artefact
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.identity import MobileFaceNet
from pocketface.runtime.models.student import StudentConfig, StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer
from pocketface.runtime.restorer import Faces, RestorerInfo

TINY = StudentConfig((8, 16), (1,), 1, (1,))
# One convolution in another order of additions: a few units in the last place of values up to 1.
FLOAT32_NOISE = 2e-6


def _faces(count: int, size: int = 32) -> Faces:
    return np.random.default_rng(0).random((count, 3, size, size), np.float32)


def _student(seed: int = 0) -> StudentRestorer:
    torch.manual_seed(seed)
    return StudentRestorer(TINY).eval()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_student.safetensors"
    save_checkpoint(path, _student(), training={})
    return path


def _write_gain(path: Path, gain: float, shape: list[int | str], facts: dict[str, str] | None = None) -> Path:
    """Write an ONNX file that multiplies its input."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "restored")]
    constant = helper.make_tensor("gain", TensorProto.FLOAT, [], [gain])
    node = helper.make_node("Mul", ["image", "gain"], ["restored"])
    graph = helper.make_graph([node], "gain", tensors[:1], tensors[1:], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, facts or {})
    onnx.save(model, path)
    return path


def test_a_checkpoint_restores_as_its_network_does(checkpoint: Path) -> None:
    restorer, faces = open_restorer(checkpoint, device="cpu"), _faces(9)
    with torch.no_grad():
        expected = _student()(torch.from_numpy(faces)).clamp(0, 1).numpy()
    np.testing.assert_allclose(restorer(faces), expected, atol=FLOAT32_NOISE, rtol=0)
    assert restorer.info.engine == "pytorch"
    assert (restorer.info.name, restorer.info.multiple, restorer.info.size) == ("tiny-student", 8, None)
    assert restorer.info.sha256 == hash_artefact(checkpoint)


def test_a_checkpoint_takes_every_multiple_and_nothing_else(checkpoint: Path) -> None:
    restorer = open_restorer(checkpoint, device="cpu")
    assert restorer(_faces(1, 40)).shape == (1, 3, 40, 40)
    with pytest.raises(ContractError, match="divisible by 8"):
        restorer(_faces(1, 36))


def test_a_teacher_opens_too(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))), training={})
    restored = open_restorer(path, device="cpu")(_faces(1, 64))
    assert restored.shape == (1, 3, 64, 64)
    assert restored.dtype == np.float32


def test_an_identity_network_is_no_restorer(tmp_path: Path) -> None:
    path = tmp_path / "identity.safetensors"
    save_checkpoint(path, MobileFaceNet(), training={})
    with pytest.raises(CheckpointError, match="mobilefacenet"):
        open_restorer(path)


def test_threads_of_pytorch_stay_as_they_are_unless_asked(checkpoint: Path) -> None:
    before = torch.get_num_threads()
    try:
        open_restorer(checkpoint, device="cpu")
        assert torch.get_num_threads() == before
        open_restorer(checkpoint, device="cpu", threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["quantum", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error(checkpoint: Path, tmp_path: Path, device: str) -> None:
    gain = _write_gain(tmp_path / "gain.onnx", 1.0, ["N", 3, 32, 32])
    for path in (checkpoint, gain):
        with pytest.raises(BackendError, match="cpu"):
            open_restorer(path, device=device)


def test_an_onnx_file_restores_any_number_of_faces(tmp_path: Path) -> None:
    path, faces = _write_gain(tmp_path / "gain.onnx", 2.0, ["N", 3, 32, 32], {"name": "gain"}), _faces(11)
    restorer = open_restorer(path, threads=1)
    np.testing.assert_array_equal(restorer(faces), np.clip(2 * faces, 0, 1))
    assert restorer.info == RestorerInfo("gain", "onnx_runtime", "cpu", 32, 1, 32, hash_artefact(path))


def test_an_onnx_file_of_one_face_is_run_face_by_face(tmp_path: Path) -> None:
    path, faces = _write_gain(tmp_path / "gain.onnx", 0.5, [1, 3, 32, 32]), _faces(3)
    np.testing.assert_array_equal(open_restorer(path)(faces), faces / 2)


def test_an_onnx_file_of_open_size_says_its_multiple(tmp_path: Path) -> None:
    sides: list[int | str] = ["N", 3, "S", "S"]
    facts = {"multiple": "8", "native_size": "64"}
    restorer = open_restorer(_write_gain(tmp_path / "gain.onnx", 1.0, sides, facts))
    assert (restorer.info.size, restorer.info.multiple, restorer.info.native_size) == (None, 8, 64)
    assert restorer(_faces(1, 40)).shape == (1, 3, 40, 40)
    with pytest.raises(BackendError, match="multiple"):
        open_restorer(_write_gain(tmp_path / "mute.onnx", 1.0, sides))


@pytest.mark.parametrize("facts", [{"multiple": "eight"}, {"multiple": "0"}, {"multiple": "8", "native_size": "-1"}])
def test_an_onnx_file_with_impossible_metadata_is_refused(tmp_path: Path, facts: dict[str, str]) -> None:
    with pytest.raises(BackendError, match="positive"):
        open_restorer(_write_gain(tmp_path / "gain.onnx", 1.0, ["N", 3, "S", "S"], facts))


@pytest.mark.parametrize("shape", [["N", 1, 32, 32], ["N", 3, 32, 16], [3, 32, 32], [4, 3, 32, 32]])
def test_an_onnx_file_of_another_shape_is_refused(tmp_path: Path, shape: list[int | str]) -> None:
    with pytest.raises(BackendError):
        open_restorer(_write_gain(tmp_path / "other.onnx", 1.0, shape))


def test_a_damaged_onnx_file_is_refused(tmp_path: Path) -> None:
    path = _write_gain(tmp_path / "gain.onnx", 1.0, [1, 3, 32, 32])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BackendError, match=r"gain\.onnx"):
        open_restorer(path)


@pytest.mark.parametrize("suffix", sorted(ENGINES))
def test_a_missing_file_is_named_whatever_its_suffix(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="absent"):
        open_restorer(tmp_path / f"absent{suffix}")


def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(InputError, match="student-base"):
        open_restorer(tmp_path / "weights.h5")


@pytest.mark.parametrize(("suffix", "engine"), [(".onnx", "onnxruntime"), (".safetensors", "torch")])
def test_a_missing_engine_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, engine: str
) -> None:
    (tmp_path / f"any{suffix}").write_bytes(b"")
    monkeypatch.setitem(sys.modules, engine, None)
    monkeypatch.delitem(sys.modules, f"pocketface.runtime.backends.{ENGINES[suffix]}")
    with pytest.raises(BackendError, match="pip install"):
        open_restorer(tmp_path / f"any{suffix}")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
def test_a_published_network_without_spandrel_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    torch.save({"params": {"weight": torch.zeros(1)}}, tmp_path / f"GFPGANv1.4{suffix}")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(BackendError, match=r"pip install 'pocketface\[teachers\]'"):
        open_restorer(tmp_path / f"GFPGANv1.4{suffix}", device="cpu")


def test_a_torchvision_of_another_build_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    torch.save({"params": {"weight": torch.zeros(1)}}, tmp_path / "GFPGANv1.4.pth")
    with pytest.raises(BackendError, match="torchvision"):
        open_restorer(tmp_path / "GFPGANv1.4.pth", device="cpu")


def test_outputs_are_clamped_but_nan_is_seen() -> None:
    faces = _faces(3)
    info = RestorerInfo("fake", "pytorch", "cpu", None, 1, 32, "")

    def run(part: Faces) -> Faces:
        raw = part * 4 - 1
        raw[0, 0, 0, 0] = np.nan
        return raw

    restored = restore_in_batches(run, faces, info, 2)
    assert np.isnan(restored).sum() == 2
    assert np.nanmin(restored) == 0.0
    assert np.nanmax(restored) == 1.0


def test_a_network_in_training_mode_is_put_into_eval() -> None:
    assert not PytorchRestorer(model := _student().train(), "x").info.sha256
    assert not model.training


def test_every_engine_has_a_module() -> None:
    for engine in ENGINES.values():
        assert callable(importlib.import_module(f"pocketface.runtime.backends.{engine}").open)
