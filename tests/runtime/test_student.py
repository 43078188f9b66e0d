from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.models.student import STUDENT_PRESETS, StudentConfig, StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer

TINY = StudentConfig((8, 16), (1,), 1, (1,))


@pytest.mark.parametrize("preset", STUDENT_PRESETS)
def test_presets_are_phone_sized(preset: str) -> None:
    model = StudentRestorer(STUDENT_PRESETS[preset])
    assert 0.3e6 <= sum(weight.numel() for weight in model.parameters()) <= 2.0e6


def test_faces_of_a_batch_do_not_see_each_other() -> None:
    model = StudentRestorer(TINY).eval()
    faces = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(faces)[1:2], model(faces[1:2]), atol=1e-6)  # float32 sums in another order


def test_activations_have_one_slope_a_layer() -> None:
    slopes = [module.num_parameters for module in StudentRestorer().modules() if isinstance(module, torch.nn.PReLU)]
    assert slopes
    assert set(slopes) == {1}


@pytest.mark.parametrize("build", [StudentRestorer, TeacherRestorer])
def test_an_untrained_restorer_is_close_to_its_input_but_can_learn(build: Callable[[], torch.nn.Module]) -> None:
    torch.manual_seed(0)
    model = build()
    faces = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    restored = model(faces)
    assert restored.shape == faces.shape
    assert float((restored - faces).detach().abs().mean()) < 0.1
    restored.square().mean().backward()
    moved = {
        name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.abs().max() > 0
    }
    still = {name for name, weight in model.named_parameters() if weight.requires_grad} - moved
    assert still == set()


def test_levels_must_fit_together() -> None:
    with pytest.raises(CheckpointError, match="one more entry"):
        StudentConfig((8, 16, 24), (1,), 1, (1,))


def test_the_multiple_is_what_the_network_needs() -> None:
    model = StudentRestorer(TINY)
    assert TINY.multiple == 8
    assert model(torch.zeros(1, 3, 40, 40)).shape == (1, 3, 40, 40)
    with pytest.raises(RuntimeError):
        model(torch.zeros(1, 3, 36, 36))


def test_the_teacher_is_guided_by_the_embedding() -> None:
    torch.manual_seed(2)
    teacher = TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))).eval()
    faces = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for module in teacher.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(std=0.1)
        one, other = (teacher(faces, torch.nn.functional.normalize(torch.randn(1, 128))) for _ in range(2))
        own = teacher(faces)
        given = teacher(faces, teacher.embed(faces))
    assert not torch.allclose(one, other)
    assert torch.equal(own, given)
