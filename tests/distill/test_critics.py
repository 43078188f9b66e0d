from __future__ import annotations

import dataclasses

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pocketface.distill.critics import Adversary, Critics, CriticsRecipe, augment, components
from pocketface.runtime.faces.align import FFHQ

SMALL = CriticsRecipe(channels=8, layers=2, scales=2, learning_rate=2e-3)
BOTH = ["adversarial", "components"]


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.fixture
def faces() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=seeded())


def test_components_are_cut_where_the_template_has_them() -> None:
    faces = torch.zeros(1, 3, 256, 256)
    marks = FFHQ.scaled(256)
    for value, (x, y) in zip((0.2, 0.4), marks[:2], strict=True):
        faces[..., round(y), round(x)] = value
    found = components(faces)
    eyes, mouth = found["eyes"], found["mouth"]
    assert eyes.shape[0] == 2
    assert eyes.shape[-1] % 8 == mouth.shape[-1] % 8 == 0
    middle = eyes.shape[-1] // 2
    for eye, value in zip(eyes, (0.2, 0.4), strict=True):
        y, x = (eye[0] == value).nonzero()[0].tolist()
        assert abs(x - middle) <= 1
        assert abs(y - middle) <= 1


def test_augmentation_is_drawn_by_the_generator_alone(faces: Tensor) -> None:
    one, same, other = (augment(faces, 0.25, seeded(number)) for number in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert augment(faces, 0.0, seeded()) is faces
    assert one.shape == faces.shape


def test_augmentation_covers_at_most_its_square_and_lets_gradients_pass(faces: Tensor) -> None:
    given = faces.clone().requires_grad_()
    shown = augment(given, 0.25, seeded(3))
    covered = (shown == 0).all(1).flatten(1).float().mean(1)
    assert (covered <= 0.25**2 + 1e-6).all()
    shown.sum().backward()
    assert given.grad is not None
    assert given.grad.abs().amax((1, 2, 3)).min() > 0


def test_critics_learn_to_tell_and_the_restorer_hears_it(faces: Tensor) -> None:
    torch.manual_seed(0)
    adversary = Adversary(SMALL, BOTH, Fabric(accelerator="cpu", devices=1))
    blurred = torch.nn.functional.avg_pool2d(faces, 5, 1, 2)
    gaps = [adversary.learn(blurred, faces, BOTH, 1.0, seeded(step))["critics_gap"] for step in range(60)]
    assert sum(gaps[-10:]) > sum(gaps[:10]) + 5  # more than 0.5 further apart, on average
    terms = {name: adversary.judge(picture, BOTH, seeded(99)) for name, picture in (("real", faces), ("fake", blurred))}
    for term in BOTH:
        assert terms["real"][term] < terms["fake"][term]


def test_a_penalty_keeps_verdicts_from_growing_steep(faces: Tensor) -> None:
    blurred = torch.nn.functional.avg_pool2d(faces, 5, 1, 2)
    steepness = []
    for weight in (0.0, 500.0):
        torch.manual_seed(0)
        adversary = Adversary(dataclasses.replace(SMALL, r1=weight), BOTH, Fabric(accelerator="cpu", devices=1))
        for step in range(40):
            adversary.learn(blurred, faces, BOTH, 1.0, seeded(step), penalise=step % 4 == 0)
        photograph = faces.clone().requires_grad_()
        adversary.judge(photograph, BOTH, seeded(99))["adversarial"].backward()
        assert photograph.grad is not None
        steepness.append(photograph.grad.norm().item())
    assert steepness[1] < 0.5 * steepness[0]


def test_judging_changes_no_critic(faces: Tensor) -> None:
    torch.manual_seed(0)
    adversary = Adversary(SMALL, BOTH, Fabric(accelerator="cpu", devices=1))
    before = {name: value.clone() for name, value in adversary.state()["critics"].items()}
    restored = faces.clone().requires_grad_()
    sum(adversary.judge(restored, BOTH, seeded()).values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    assert restored.grad is not None
    assert restored.grad.abs().max() > 0
    assert all(torch.equal(value, before[name]) for name, value in adversary.state()["critics"].items())
    assert all(weight.grad is None for weight in adversary.critics.parameters())


def test_a_view_without_its_term_is_not_judged(faces: Tensor) -> None:
    adversary = Adversary(SMALL, ["adversarial"], Fabric(accelerator="cpu", devices=1))
    assert set(adversary.judge(faces, ["adversarial"], seeded())) == {"adversarial"}
    assert set(Critics(SMALL, ["picture"]).critics) == {"picture"}
