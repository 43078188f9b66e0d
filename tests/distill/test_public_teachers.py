"""Students that follow other people's networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pocketface.distill import trainer
from pocketface.distill.faces import Crop, write_crops
from pocketface.distill.teacher_cache import CachedTeacher
from pocketface.distill.teachers import open_teacher, resize
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.cli import main
from pocketface.runtime.errors import RecipeError

pytestmark = pytest.mark.teachers


def _architecture(name: str) -> Any:
    module = f"spandrel.architectures.{name}"
    return getattr(pytest.importorskip(module, reason="spandrel is not installed: make test-teachers"), name)


Compact, RestoreFormer = _architecture("Compact"), _architecture("RestoreFormer")
# Channels-last behind the door, contiguous in training: other sums in other orders.
FLOAT32_NOISE = 2e-5
RECIPE = """
seed = 4
teacher = "teacher"
[model]
architecture = "student"
preset = "nano"
[ageing]
mix = { medium = 1 }
[optimiser]
warmup = 1
[[stages]]
steps = 2
batch = 2
crop = 32
rate = [1, 0.5]
losses = { pixel = 1.0, teacher = 1.0 }
"""


def _faces(count: int, size: int) -> Tensor:
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, (size, size), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("public") / "realesr.pth"
    torch.save({"params": Compact(num_feat=8, num_conv=2, upscale=4).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("public") / "RestoreFormer.pth"
    network = RestoreFormer(ch=32, ch_mult=(1, 1, 1, 1, 1, 1), z_channels=32, embed_dim=32, n_embed=16)
    torch.save({"params": network.state_dict()}, path)
    return path


def test_a_super_resolver_teaches_crops(resolver: Path) -> None:
    teacher, faces = open_teacher(str(resolver)), _faces(2, 48)
    restorer = open_restorer(resolver, device="cpu")
    np.testing.assert_allclose(teacher(faces).numpy(), restorer(faces.numpy()), atol=FLOAT32_NOISE, rtol=0)
    assert teacher.sha256 == restorer.info.sha256


def test_a_face_network_of_512_teaches_whole_faces_of_256_and_no_crops(former: Path) -> None:
    teacher, faces = open_teacher(str(former)), _faces(1, 256)
    for refuse in (lambda: teacher.check_crop(128), lambda: teacher(faces[..., :128, :128])):
        with pytest.raises(RecipeError, match="whole faces of 256"):
            refuse()
    said = teacher(faces)
    assert said.shape == faces.shape
    restorer = open_restorer(former, device="cpu")
    expected = resize(torch.from_numpy(restorer(resize(faces, 512).numpy())), 256)
    np.testing.assert_allclose(said.numpy(), expected.numpy(), atol=FLOAT32_NOISE, rtol=0)


def test_it_never_moves(resolver: Path) -> None:
    teacher = open_teacher(str(resolver)).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    teacher(_faces(2, 32))
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_it_is_asked_once(resolver: Path, tmp_path: Path) -> None:
    faces = _faces(3, 32)
    first = CachedTeacher(open_teacher(str(resolver)), tmp_path)(faces)
    again = CachedTeacher(open_teacher(str(resolver)), tmp_path)
    assert torch.equal(again(faces), first)
    assert (again.hits, again.misses) == (3, 0)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    crops = [Crop(f"{number}.png", f"person {number}", "train", "noise", "made here", 64.0) for number in range(3)]
    for crop, face in zip(crops, _faces(3, 64).permute(0, 2, 3, 1).numpy(), strict=True):
        cv2.imwrite(str(tmp_path / crop.file), np.ascontiguousarray((face * 255).astype(np.uint8)))
    write_crops(tmp_path, crops)
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / trainer.LOG).read_text(encoding="utf-8").splitlines()]


def test_the_verb_follows_a_published_network(crops: Path, resolver: Path) -> None:
    given = ["distill", str(crops / "recipe.toml"), "--crops", str(crops), "--device", "cpu"]
    following = ["--teacher", str(resolver), "--teacher-cache", str(crops / "said")]
    assert main([*given, *following, "-o", str(crops / "first")]) == 0
    said = sorted((crops / "said").rglob("*.said"))
    assert len(said) == 4
    assert main([*given, *following, "-o", str(crops / "second")]) == 0
    assert sorted((crops / "said").rglob("*.said")) == said
    assert _losses(crops / "first") == _losses(crops / "second")
    assert main([*given, "-o", str(crops / "other"), "--teacher", "student-base"]) == 0
    assert _losses(crops / "other") != _losses(crops / "first")


def test_crops_for_a_face_network_are_one_line_and_exit_code_2(
    crops: Path, former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["distill", str(crops / "recipe.toml"), "--crops", str(crops), "--device", "cpu", "--teacher", str(former)]
    assert main([*given, "-o", str(crops / "run")]) == 2
    assert "whole faces of 64" in capsys.readouterr().err
