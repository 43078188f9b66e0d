"""What one training step computes: faces -> aged faces -> restored faces -> named losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..runtime.errors import RecipeError
from ..runtime.models.checkpoint import load_model
from ..runtime.models.student import STUDENT_PRESETS, StudentRestorer
from ..runtime.models.teacher import TeacherConfig, TeacherRestorer
from ..runtime.weights import find_checkpoint, shipped_path
from . import losses
from .degradations import age
from .identity_loss import IdentityEmbedder, open_identity
from .recipe import Recipe, Stage


def build_model(recipe: Recipe) -> nn.Module:
    """Build the network of a recipe, from a checkpoint or with seeded first weights.

    A new teacher gets the shipped identity network as its guide.
    """
    torch.manual_seed(recipe.seed)
    if recipe.model.start:
        return load_model(find_checkpoint(recipe.model.start), recipe.model.architecture)[0]
    if recipe.model.architecture == "student":
        return StudentRestorer(STUDENT_PRESETS[recipe.model.preset])
    model = TeacherRestorer(TeacherConfig(recipe.model.channels) if recipe.model.channels else None)
    guide, _ = load_model(shipped_path("identity"), "mobilefacenet")
    model.guide.load_state_dict(guide.state_dict())
    return model


class RestorationTask:
    """Draws batches and computes the loss terms of a recipe.

    The helper networks (teacher, identity) are kept outside the trained module, in eval mode and without gradients to
    their weights, so that neither `.train()` nor the optimiser can reach them.

    Args:
        recipe: what to do.
        faces: all training faces, (M, S, S, 3) uint8, on the device.
    """

    def __init__(self, recipe: Recipe, faces: Tensor) -> None:
        self.recipe = recipe
        self.faces = faces
        self.side = faces.shape[1]
        for stage in recipe.stages:
            if stage.crop > self.side or (stage.losses.get("identity", 0) and stage.crop != self.side):
                raise RecipeError(f"crops of at most {self.side}, whole faces for the identity term", str(stage.crop))
        self.teacher = _load_teacher(recipe, str(faces.device)) if recipe.wants("teacher") else None
        self.identity: IdentityEmbedder | None = None
        if recipe.wants("identity"):
            self.identity = open_identity(recipe.identity, str(faces.device))

    def losses(self, model: nn.Module, stage: Stage, step: int) -> dict[str, Tensor]:
        """Compute the terms of one step; the step's number and the recipe's seed decide everything that is drawn."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        aged, target = self._draw(stage, generator)
        known = _embed_guide(model, aged)
        place = _crop_at(self.side, stage.crop, generator)
        aged, target = aged[..., place[0], place[1]], target[..., place[0], place[1]]
        restored = model(aged) if known is None else model(aged, known)
        return self._terms(stage.losses, restored, aged, target)

    def _draw(self, stage: Stage, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(self.faces), (stage.batch,), generator=generator)
        faces = self.faces[index.to(self.faces.device)].permute(0, 3, 1, 2).float() / 255
        mirrored = (torch.rand(stage.batch, generator=generator) < 0.5).to(faces.device)
        faces = torch.where(mirrored[:, None, None, None], faces.flip(-1), faces)
        return age(faces, self.recipe.ageing, generator)

    def _terms(self, weights: Mapping[str, float], restored: Tensor, aged: Tensor, target: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if weights.get("pixel"):
            terms["pixel"] = losses.charbonnier(restored, target)
        if weights.get("gradient"):
            terms["gradient"] = losses.gradient(restored, target)
        if weights.get("teacher") and self.teacher is not None:
            with torch.no_grad():
                led = self.teacher(aged)
            terms["teacher"] = losses.charbonnier(restored, led)
        if weights.get("identity") and self.identity is not None:
            with torch.no_grad():
                wanted = self.identity(target)
            terms["identity"] = losses.identity(self.identity(restored.clamp(0, 1)), wanted)
        return terms


def _embed_guide(model: nn.Module, aged: Tensor) -> Tensor | None:
    """The teacher's guide sees the whole face even where the teacher is trained on a crop of it."""
    inner = getattr(model, "module", model)
    return inner.embed(aged) if isinstance(inner, TeacherRestorer) else None


def _crop_at(side: int, crop: int, generator: torch.Generator) -> tuple[slice, slice]:
    top, left = torch.randint(side - crop + 1, (2,), generator=generator).tolist()
    return slice(top, top + crop), slice(left, left + crop)


def _load_teacher(recipe: Recipe, device: str) -> nn.Module:
    teacher, _ = load_model(find_checkpoint(recipe.teacher), "teacher", device)
    return teacher.requires_grad_(requires_grad=False)
