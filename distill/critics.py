"""The critics of adversarial training: what tells a photograph from a restored face.

One critic looks at the whole picture on several scales, one at eyes, one at the mouth. Both photographs and restored
pictures can be shifted, re-lit and partly covered before they are shown, because a small set is soon known by heart
(Differentiable Augmentation, Zhao et al. 2020); it takes critics much longer to learn anything then, so that a short
run does better without. Spectral normalisation was tried and learns too slowly for a short run (docs/experiments.md);
what keeps verdicts from growing steep is a penalty on their gradient at photographs (R1, Mescheder et al. 2018).
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.faces.align import FFHQ
from . import losses

# Sides of the component crops as shares of the face's side: an eye with its brow, the mouth with its corners.
_EYE_SIDE, _MOUTH_SIDE = 0.19, 0.25
_MULTIPLE = 8
_SLOPE = 0.2


@dataclass(frozen=True)
class CriticsRecipe:
    """The critics and how they learn.

    Args:
        channels: of the first layer; doubles with each halving, at most eightfold.
        layers: halvings before the verdict.
        scales: the picture itself, its half, its quarter, ...
        learning_rate: of the critics; it follows the same schedule as the restorer's.
        betas: of their AdamW.
        cover: share of the side that the covering square takes, and of the shift; 0 for no augmentation.
        r1: weight of the squared gradient of a photograph's verdict.
        r1_every: steps between penalties, each of which then counts for all of them.
    """

    channels: int = 32
    layers: int = 3
    scales: int = 2
    learning_rate: float = 2e-4
    betas: tuple[float, ...] = (0.0, 0.99)
    cover: float = 0.25
    r1: float = 5.0
    r1_every: int = 4


class PatchCritic(nn.Module):
    """(N, 3, H, W) in [0, 1] -> a map of verdicts, one for each overlapping patch.

    Source: PatchGAN (Isola et al. 2017).
    """

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        widths = [3, *(channels * min(8, 2**level) for level in range(layers))]
        self.body = nn.ModuleList(nn.Conv2d(source, target, 4, 2, 1) for source, target in pairwise(widths))
        for conv in self.body:
            nn.init.kaiming_normal_(typing.cast("nn.Conv2d", conv).weight, _SLOPE)
        self.verdict = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Judge patches."""
        y = x.float() * 2 - 1
        for conv in self.body:
            y = F.leaky_relu(conv(y), _SLOPE)
        return self.verdict(y)


class Critics(nn.Module):
    """All critics of a run: the views of a batch -> verdicts, by name of the view."""

    def __init__(self, recipe: CriticsRecipe, names: Sequence[str]) -> None:
        super().__init__()
        self.scales = recipe.scales
        self.critics = nn.ModuleDict()
        for name in names:
            scales = recipe.scales if name == "picture" else 1
            self.critics[name] = nn.ModuleList(PatchCritic(recipe.channels, recipe.layers) for _ in range(scales))

    def forward(self, views: dict[str, Tensor]) -> dict[str, list[Tensor]]:
        """Judge every view on all its scales."""
        verdicts: dict[str, list[Tensor]] = {}
        for name, view in views.items():
            shown, verdicts[name] = view, []
            for critic in typing.cast("nn.ModuleList", self.critics[name]):
                verdicts[name].append(critic(shown))
                shown = F.avg_pool2d(shown, 2)
        return verdicts


class Adversary:
    """Holds the critics, lets them learn, and tells the restorer how it was found out.

    Args:
        recipe: the critics.
        terms: which of the adversarial terms the run uses.
        fabric: where to run.
    """

    def __init__(self, recipe: CriticsRecipe, terms: Sequence[str], fabric: Fabric) -> None:
        self.recipe, self.fabric = recipe, fabric
        names = (["picture"] if "adversarial" in terms else []) + (["eyes", "mouth"] if "components" in terms else [])
        critics = Critics(recipe, names)
        beta1, beta2 = recipe.betas
        optimiser = torch.optim.AdamW(critics.parameters(), lr=recipe.learning_rate, betas=(beta1, beta2))
        self.critics, self.optimiser = fabric.setup(critics, optimiser)

    def judge(self, restored: Tensor, names: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
        """The restorer's terms; the critics take no gradient and do not change.

        Args:
            restored: (N, 3, S, S), with its graph.
            names: of the terms `adversarial` and `components`.
            generator: decides the augmentation.
        """
        inner = self.critics.module.eval().requires_grad_(requires_grad=False)
        verdicts = inner(self._views(restored, names, generator))
        terms: dict[str, Tensor] = {}
        if "picture" in verdicts:
            terms["adversarial"] = losses.deceit(verdicts["picture"])
        if "eyes" in verdicts:
            terms["components"] = losses.deceit([*verdicts["eyes"], *verdicts["mouth"]])
        return terms

    def learn(
        self,
        restored: Tensor,
        target: Tensor,
        names: Sequence[str],
        rate: float,
        generator: torch.Generator,
        *,
        penalise: bool = False,
    ) -> dict[str, float]:
        """One step of the critics on pictures without a graph; gives their loss, and by how much they tell them apart.

        Args:
            restored, target: (N, 3, S, S).
            names: of the terms in use.
            rate: factor on the learning rate.
            generator: decides the augmentation.
            penalise: add the gradient penalty, for all the steps since the last one.
        """
        self.critics.module.train().requires_grad_(requires_grad=True)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * rate
        both = torch.cat([restored.detach().float().clamp(0, 1), target.float()])
        half = len(restored)
        views = {name: view.requires_grad_(penalise) for name, view in self._views(both, names, generator).items()}
        verdicts = self.critics(views)
        judged = [verdict for view in verdicts.values() for verdict in view]
        fake = [_share(verdict, half, first=True) for verdict in judged]
        real = [_share(verdict, half, first=False) for verdict in judged]
        loss = losses.hinge(real, real=True) + losses.hinge(fake, real=False)
        if penalise:
            loss = loss + self.recipe.r1 * self.recipe.r1_every / 2 * _steepness(views, verdicts)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimiser.step()
        gap = torch.stack([one.mean() - other.mean() for one, other in zip(real, fake, strict=True)]).mean()
        return {"critics": float(loss.detach()), "critics_gap": float(gap.detach())}

    def state(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"critics": self.critics.module.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.critics.module.load_state_dict(state["critics"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _views(self, pictures: Tensor, names: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
        views: dict[str, Tensor] = {}
        if "adversarial" in names:
            views["picture"] = augment(pictures, self.recipe.cover, generator)
        if "components" in names:
            for name, view in components(pictures).items():
                views[name] = augment(view, self.recipe.cover, generator)
        return views


def _steepness(views: dict[str, Tensor], verdicts: dict[str, list[Tensor]]) -> Tensor:
    """Mean over views and photographs of the squared gradient of a photograph's mean verdict."""
    found = []
    for name, view in views.items():
        half = len(view) // 2
        verdict = torch.stack([scale[half:].float().flatten(1).mean(1) for scale in verdicts[name]]).mean(0)
        (slope,) = torch.autograd.grad(verdict.sum(), view, create_graph=True)
        found.append(slope[half:].square().sum((1, 2, 3)).mean())
    return torch.stack(found).mean()


def _share(verdict: Tensor, half: int, *, first: bool) -> Tensor:
    """Verdicts on the first or the second half of the pictures; several views of one picture lie together."""
    rows = verdict.reshape(2, half, -1)
    return rows[0 if first else 1]


def components(faces: Tensor) -> dict[str, Tensor]:
    """Cut eyes and mouths out of aligned faces, where the template says they are.

    Args:
        faces: (N, 3, S, S), aligned with the FFHQ template.

    Returns:
        `eyes` (2 N, 3, E, E): both eyes of each face, the right one mirrored, one face's two in a row; `mouth`
        (N, 3, M, M).
    """
    side = faces.shape[-1]
    left, right, _, *corners = FFHQ.scaled(side)
    mouth = (corners[0] + corners[1]) / 2
    eyes = torch.stack(
        [_cut(faces, left[0], left[1], _EYE_SIDE), _cut(faces, right[0], right[1], _EYE_SIDE).flip(-1)], 1
    )
    return {"eyes": eyes.flatten(0, 1), "mouth": _cut(faces, mouth[0], mouth[1], _MOUTH_SIDE)}


def _cut(faces: Tensor, x: float, y: float, share: float) -> Tensor:
    side = faces.shape[-1]
    span = max(_MULTIPLE, round(share * side / _MULTIPLE) * _MULTIPLE)
    left = min(max(0, round(x + 0.5 - span / 2)), side - span)
    top = min(max(0, round(y + 0.5 - span / 2)), side - span)
    return faces[..., top : top + span, left : left + span]


def augment(pictures: Tensor, cover: float, generator: torch.Generator) -> Tensor:
    """Re-light, shift and partly cover each picture, differentiably.

    Args:
        pictures: (N, 3, H, W).
        cover: side of the covering square and twice the largest shift, as a share of the picture's side; 0: nothing.
        generator: on the CPU.

    Source: Differentiable Augmentation (Zhao et al. 2020).
    """
    if cover == 0:
        return pictures
    count, _, side, _ = pictures.shape
    drawn = torch.rand(7, count, generator=generator)
    light, tint, contrast = (drawn[:3] - 0.5).to(pictures.device)[:, :, None, None, None]
    grey = pictures.mean(1, keepdim=True)
    lit = grey + (pictures - grey) * (1 + tint)
    centre = lit.mean((1, 2, 3), keepdim=True)
    lit = centre + (lit - centre) * (1 + 0.5 * contrast) + 0.4 * light
    span = round(cover * side)
    shifts = ((drawn[3:5] - 0.5) * span).round().long()
    corners = (drawn[5:7] * (side + span)).long() - span
    place = torch.arange(side)
    rows = (place[None] + shifts[0][:, None]).clamp(0, side - 1).to(pictures.device)
    columns = (place[None] + shifts[1][:, None]).clamp(0, side - 1).to(pictures.device)
    moved = lit.gather(2, rows[:, None, :, None].expand_as(lit)).gather(3, columns[:, None, None, :].expand_as(lit))
    return moved * _seen(place, corners, span).to(pictures.device)


def _seen(place: Tensor, corners: Tensor, span: int) -> Tensor:
    """(N, 1, side, side): 0 inside each picture's covering square, 1 elsewhere."""
    rows = (place[None] >= corners[0][:, None]) & (place[None] < corners[0][:, None] + span)
    columns = (place[None] >= corners[1][:, None]) & (place[None] < corners[1][:, None] + span)
    return 1.0 - (rows[:, None, :, None] & columns[:, None, None, :]).float()
