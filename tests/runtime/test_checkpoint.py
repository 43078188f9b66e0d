from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.models.checkpoint import hash_tensors, load_model, save_checkpoint
from pocketface.runtime.models.identity import MobileFaceNet
from pocketface.runtime.models.student import StudentConfig, StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer

TINY = StudentConfig((8, 16), (1,), 1, (1,))
MODELS = {
    "student": lambda: StudentRestorer(TINY),
    "teacher": lambda: TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))),
    "mobilefacenet": MobileFaceNet,
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "student.safetensors"
    save_checkpoint(path, StudentRestorer(TINY), training={"data": "made here"})
    return path


def rewrite(path: Path, tensors: dict[str, torch.Tensor], **changes: object) -> None:
    """Write a file that is consistent with itself but not what it should be."""
    metadata = {
        "format": "pocketface-checkpoint-1",
        "architecture": "student",
        "config": {"channels": [8, 16], "encoder_blocks": [1], "middle_blocks": 1, "decoder_blocks": [1]},
        "training": {},
        "tensors_sha256": hash_tensors(tensors),
    }
    save_file(tensors, path, metadata={"pocketface": json.dumps(metadata | changes)})


@pytest.mark.parametrize("architecture", MODELS)
def test_a_network_comes_back_from_its_file_alone(architecture: str, tmp_path: Path) -> None:
    model = MODELS[architecture]().eval()
    digest = save_checkpoint(tmp_path / "a.safetensors", model, training={"steps": 7})
    loaded, info = load_model(tmp_path / "a.safetensors", architecture)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert (info.architecture, info.training, info.sha256) == (architecture, {"steps": 7}, digest)
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_half_precision_is_for_shipping(tmp_path: Path) -> None:
    model = StudentRestorer(TINY)
    save_checkpoint(tmp_path / "half.safetensors", model, training={}, half=True)
    loaded, _ = load_model(tmp_path / "half.safetensors")
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == value.dtype
        # float16 keeps 11 bits: relative 2^-11, and at least the smallest subnormal.
        assert torch.allclose(loaded.state_dict()[name], value, rtol=2**-11, atol=6e-8)


def test_the_same_weights_give_the_same_file(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, load_model(saved)[0], training={"data": "made here"})
    assert again.read_bytes() == saved.read_bytes()


def test_weights_that_are_not_finite_are_refused_and_the_old_file_stays(saved: Path) -> None:
    before = saved.read_bytes()
    model = StudentRestorer(TINY)
    with torch.no_grad():
        model.stem.weight[0, 0, 0, 0] = 7e4  # fits float32, overflows float16
    with pytest.raises(CheckpointError, match=r"inf or NaN in stem\.weight"):
        save_checkpoint(saved, model, training={}, half=True)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_another_architecture_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="architecture teacher, got student"):
        load_model(saved, "teacher")


@pytest.mark.parametrize("keep", [0, 4, 100, 2000])
def test_a_truncated_file_is_named(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"whole safetensors file.*student\.safetensors"):
        load_model(saved)


def test_one_changed_weight_is_found(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="match their own hash"):
        load_model(saved)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="the format"):
        load_model(tmp_path / "foreign.safetensors")


def test_missing_unknown_and_misshapen_weights_are_named(saved: Path) -> None:
    tensors = load_file(saved)
    tensors["extra"] = torch.zeros(1)
    tensors["stem.bias"] = torch.zeros(9)
    del tensors["stem.weight"]
    rewrite(saved, tensors)
    with pytest.raises(CheckpointError, match=r"missing stem\.weight; unknown extra; stem\.bias is \(9,\), not \(8,\)"):
        load_model(saved)


def test_an_unknown_setting_is_named(saved: Path) -> None:
    rewrite(saved, load_file(saved), config={"chanels": [8, 16]})
    with pytest.raises(CheckpointError, match="chanels"):
        load_model(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": ["student"]},
        {"architecture": None},
        {"config": None},
        {"config": {"channels": 8}},
        {"config": {"channels": [8, 1e308]}},
        {"config": {"channels": [{}, 16]}},
        {"config": {"channels": [8, 16], "middle_blocks": 10**9}},
        {"config": {"channels": [8, 10**12]}},
        {"config": {"channels": [8, -16]}},
        {"training": None},
    ],
)
def test_an_impossible_description_is_refused_at_once(saved: Path, changes: dict[str, object]) -> None:
    rewrite(saved, load_file(saved), **changes)
    with pytest.raises(CheckpointError):
        load_model(saved)


def test_a_description_that_is_no_object_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "list.safetensors", metadata={"pocketface": "[1]"})
    with pytest.raises(CheckpointError, match="list"):
        load_model(tmp_path / "list.safetensors")


def test_other_modules_are_not_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got Linear"):
        save_checkpoint(tmp_path / "a.safetensors", torch.nn.Linear(1, 1), training={})
