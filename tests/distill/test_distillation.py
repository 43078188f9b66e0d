from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from pocketface.distill.distillation import (
    Adapters,
    FeatureTap,
    Lesson,
    attention,
    confidence,
    features,
    relational,
)
from pocketface.runtime.errors import RecipeError
from pocketface.runtime.models.student import StudentConfig, StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer

STUDENT = StudentConfig((8, 16, 24, 32), (1, 1, 1), 1, (1, 1, 1))
TEACHER = TeacherConfig((16, 24, 32), (1, 1), 1, (1, 1))


@pytest.fixture
def faces() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_taps_keep_maps_by_stride(faces: torch.Tensor) -> None:
    student = StudentRestorer(STUDENT).eval()
    tap = FeatureTap(student)
    student(faces)
    assert {stride: found.shape[1:] for stride, found in tap.maps.items()} == {
        4: (8, 16, 16), 8: (16, 8, 8), 16: (24, 4, 4), 32: (32, 2, 2),
    }  # fmt: skip
    assert tap.widths == {stride: found.shape[1] for stride, found in tap.maps.items()}


def test_a_strangers_inside_is_unknown() -> None:
    with pytest.raises(RecipeError, match="our own architecture"):
        FeatureTap(nn.Conv2d(3, 3, 1))


def test_adapters_learn_what_the_teacher_shows(faces: torch.Tensor) -> None:
    torch.manual_seed(0)
    student, teacher = StudentRestorer(STUDENT).eval(), TeacherRestorer(TEACHER).eval()
    lesson = Lesson(student, teacher, Fabric(accelerator="cpu", devices=1))
    optimiser = torch.optim.Adam(lesson.adapters.parameters(), 1e-2)
    found, terms = [], dict[str, torch.Tensor]()
    for _ in range(30):
        with torch.no_grad():
            student(faces)
            teacher(faces)
        terms = lesson.terms()
        found.append(terms["features"].item())
        optimiser.zero_grad()
        terms["features"].backward()
        optimiser.step()
    assert found[-1] < 0.8 * found[0]
    assert set(terms) == {"features", "attention"}


def test_networks_without_a_common_stride_are_refused() -> None:
    with pytest.raises(RecipeError, match="stride in common"):
        Adapters({4: 8}, {8: 8})


def test_equal_maps_cost_nothing_and_the_mean_costs_one() -> None:
    wanted = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert features(wanted, wanted).item() == 0.0
    assert features(wanted.mean().expand_as(wanted), wanted).item() == pytest.approx(1.0, rel=0.01)  # n against n - 1
    # Attention has no scale and does not care which channel it is.
    assert attention(3 * wanted.flip(1), wanted).item() == pytest.approx(0.0, abs=1e-6)
    assert attention(wanted.flip(-1), wanted).item() > 0.01


def test_relations_are_free_of_a_common_rotation() -> None:
    embedded = nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
    assert relational(embedded @ turn, embedded).item() == pytest.approx(0.0, abs=1e-6)
    assert relational(embedded.flip(0).roll(1, 0)[[0, 1, 2, 4, 3]], embedded).item() > 0.01


def test_trust_follows_what_the_teacher_removes(faces: torch.Tensor) -> None:
    aged = faces + 0.2
    assert confidence(faces, aged, faces).min().item() == 1.0
    assert confidence(aged, aged, faces).max().item() == 0.0
    assert confidence(faces + 0.4, aged, faces).max().item() == 0.0, "worse than nothing is not followed"
    half = confidence(faces + 0.1, aged, faces)
    assert half.mean().item() == pytest.approx(0.5, abs=1e-4)  # float32 differences of values near 1
