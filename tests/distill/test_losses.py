from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pocketface.distill import losses

PAIRWISE = [losses.charbonnier, losses.squared, losses.gradient, losses.focal_frequency]


@pytest.fixture
def faces() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("loss", PAIRWISE)
def test_equal_pictures_cost_nothing_and_pull_nowhere(loss: Callable[[Tensor, Tensor], Tensor], faces: Tensor) -> None:
    restored = faces.clone().requires_grad_()
    value = loss(restored, faces)
    value.backward()
    assert value.item() == 0.0
    assert restored.grad is not None
    assert restored.grad.abs().max() == 0.0


@pytest.mark.parametrize("loss", PAIRWISE)
def test_half_the_error_costs_less(loss: Callable[[Tensor, Tensor], Tensor], faces: Tensor) -> None:
    off = faces + 0.1 * torch.randn(faces.shape, generator=torch.Generator().manual_seed(1))
    assert 0 < loss((faces + off) / 2, faces) < loss(off, faces)


def test_a_constant_shift_has_no_gradient_term(faces: Tensor) -> None:
    assert losses.gradient(faces + 0.1, faces).item() == pytest.approx(0.0, abs=1e-6)  # rounding of float32


def test_focal_frequency_weighs_the_worst_frequency_most() -> None:
    """One wave of power 2 costs more than two of power 1: a plain spectrum distance would not care."""
    place = torch.arange(32) * 2 * torch.pi / 32
    wave = [torch.cos(k * place).expand(1, 3, 32, 32) for k in (3, 7)]
    nothing = torch.zeros(1, 3, 32, 32)
    one = losses.focal_frequency(2**0.5 * wave[0], nothing)
    two = losses.focal_frequency(wave[0] + wave[1], nothing)
    assert one.item() == pytest.approx(
        two.item(), rel=1e-3
    )  # two waves as bad as each other weigh 1 each: as much power
    uneven = losses.focal_frequency(1.4 * wave[0] + 0.2 * wave[1], nothing)
    power = (1.4**2 + 0.2**2) / 2
    assert uneven.item() < one.item() * power  # the small one weighs a seventh


def test_perceptual_is_free_of_the_layers_scale(faces: Tensor) -> None:
    other = faces.flip(0)
    small = losses.perceptual([faces], [other])
    assert losses.perceptual([1000 * faces], [1000 * other]).item() == pytest.approx(small.item(), rel=1e-5)


def test_hinge_leaves_clear_verdicts_alone() -> None:
    sure, unsure = [torch.full((2, 4), 1.5)], [torch.zeros(2, 4)]
    assert losses.hinge(sure, real=True).item() == 0.0
    assert losses.hinge([-sure[0]], real=False).item() == 0.0
    assert losses.hinge(unsure, real=True).item() == losses.hinge(unsure, real=False).item() == 1.0
    assert losses.hinge(sure, real=False).item() == 2.5


def test_weighted_terms_must_exist() -> None:
    with pytest.raises(KeyError):
        losses.weighted_sum({"pixel": torch.tensor(1.0)}, {"identity": 1.0})
