"""Identity networks as losses: gradients reach the faces, and what cannot or must not teach is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pocketface.distill.identity_loss import open_identity
from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.models.iresnet import IResNet, IResNetConfig
from pocketface.runtime.models.judges import open_judge


@pytest.fixture
def iresnet(tmp_path: Path) -> str:
    torch.manual_seed(0)
    torch.save(IResNet(IResNetConfig((1, 1, 1, 1), 16)).state_dict(), tmp_path / "backbone.pt")
    return str(tmp_path / "backbone.pt")


@pytest.mark.parametrize("name", ["identity", "dlib", "iresnet"])
def test_a_loss_pulls_a_face_towards_a_person_as_the_judge_sees_it(name: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue(name) if name == "iresnet" else name
    embed, judge = open_identity(name), open_judge(name)
    torch.manual_seed(0)
    wanted, face = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64, requires_grad=True)

    def distance() -> torch.Tensor:
        return 1 - (embed(face) * embed(wanted)).sum()

    before = distance()
    assert before.item() == pytest.approx(
        1 - float((judge(face.detach().numpy()) * judge(wanted.numpy())).sum()), abs=1e-5
    )
    before.backward()
    assert face.grad is not None
    with torch.no_grad():
        face -= 1e-3 * face.grad / face.grad.abs().max()  # a step so small that the way down is straight
    assert distance().item() < before.item()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("judge.onnx", "no gradient"), ("judge.ckpt", "licence"),
        ("student-base", "mobilefacenet"), ("absent.pth", "absent"),
    ],
)  # fmt: skip
def test_what_cannot_teach_is_refused(name: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        open_identity(name)
