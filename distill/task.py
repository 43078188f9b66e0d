"""What one training step computes: faces -> aged faces -> restored faces -> named losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..runtime.errors import RecipeError
from ..runtime.models.checkpoint import load_model
from ..runtime.models.student import StudentRestorer
from ..runtime.models.teacher import TeacherConfig, TeacherRestorer
from ..runtime.weights import find_checkpoint, shipped_path
from . import losses
from .degradations import age
from .distillation import confidence, relational
from .identity_loss import IdentityEmbedder, open_identity
from .perceptual import Features, open_features
from .recipe import Recipe, Stage
from .resize import resize
from .teacher_cache import CachedTeacher
from .teachers import Teacher, open_teacher


def build_model(recipe: Recipe) -> tuple[nn.Module, dict[str, object] | None]:
    """Build the network of a recipe, from a checkpoint or with seeded first weights.

    A new teacher gets the shipped identity network as its guide.

    Returns:
        The network, and what the checkpoint's header says of its training; None for seeded weights.
    """
    torch.manual_seed(recipe.seed)
    if recipe.model.start:
        model, info = load_model(find_checkpoint(recipe.model.start), recipe.model.architecture)
        if isinstance(model, StudentRestorer) and model.config != recipe.student:
            model = resize(model, recipe.student)
        return model, info.training
    if recipe.model.architecture == "student":
        return StudentRestorer(recipe.student), None
    model = TeacherRestorer(TeacherConfig(recipe.model.channels) if recipe.model.channels else None)
    guide, _ = load_model(shipped_path("identity"), "mobilefacenet")
    model.guide.load_state_dict(guide.state_dict())
    return model, None


@dataclass(frozen=True)
class Batch:
    """What a step is given: all of (N, 3, S, S) in [0, 1] on the device.

    Args:
        face: the whole aged faces, for the teacher's guide.
        aged: what is restored: the faces or a crop of them.
        target: what they should become, cropped alike.
    """

    face: Tensor
    aged: Tensor
    target: Tensor


class RestorationTask:
    """Draws batches and computes the loss terms of a recipe.

    The helper networks (teacher, identity, features) are kept outside the trained module, in eval mode and without
    gradients to their weights, so that neither `.train()` nor the optimiser can reach them.

    Args:
        recipe: what to do.
        faces: all training faces, (M, S, S, 3) uint8, on the device.
        teacher_cache: folder that keeps what the teacher said; None for none.
    """

    def __init__(self, recipe: Recipe, faces: Tensor, teacher_cache: Path | None = None) -> None:
        self.recipe = recipe
        self.faces = faces
        self.side = faces.shape[1]
        for stage in recipe.stages:
            needy = [term for term in losses.WHOLE_FACE_TERMS if term in stage.losses]
            if stage.crop > self.side or (needy and stage.crop != self.side):
                raise RecipeError(
                    f"crops of at most {self.side}, whole faces for {', '.join(losses.WHOLE_FACE_TERMS)}",
                    str(stage.crop),
                )
        device = str(faces.device)
        self.teacher: Teacher | CachedTeacher | None = None
        if recipe.wants(*losses.TEACHER_TERMS):
            self.teacher = _open_teacher(recipe, self.side, device, teacher_cache)
        self.identity: IdentityEmbedder | None = None
        if recipe.wants(*losses.IDENTITY_TERMS):
            self.identity = open_identity(recipe.identity, device)
        self.features: Features | None = None
        if recipe.wants("perceptual"):
            self.features = open_features(recipe.perceptual, device)

    def draw(self, stage: Stage, number: int) -> Batch:
        """Draw and age the faces of one batch; its number and the recipe's seed decide everything that is drawn."""
        generator = self.generator(number)
        index = torch.randint(len(self.faces), (stage.batch,), generator=generator)
        faces = self.faces[index.to(self.faces.device)].permute(0, 3, 1, 2).float() / 255
        mirrored = (torch.rand(stage.batch, generator=generator) < 0.5).to(faces.device)
        faces = torch.where(mirrored[:, None, None, None], faces.flip(-1), faces)
        face, target = age(faces, self.recipe.ageing, generator)
        rows, columns = _crop_at(self.side, stage.crop, generator)
        return Batch(face, face[..., rows, columns], target[..., rows, columns])

    def generator(self, number: int) -> torch.Generator:
        """The source of everything drawn for one batch."""
        return torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + number)

    @staticmethod
    def restore(model: nn.Module, batch: Batch) -> Tensor:
        """Run the trained network; a teacher's guide sees the whole face even where only a crop is restored."""
        inner = getattr(model, "module", model)
        if isinstance(inner, TeacherRestorer):
            return model(batch.aged, inner.embed(batch.face))
        return model(batch.aged)

    def terms(self, weights: Mapping[str, float], restored: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Compute every term that has a weight, but for those that need critics."""
        wanted = {name for name, weight in weights.items() if weight}
        found = {
            name: loss(restored, batch.target)
            for name, loss in (
                ("pixel", losses.charbonnier),
                ("squared", losses.squared),
                ("gradient", losses.gradient),
                ("frequency", losses.focal_frequency),
            )
            if name in wanted
        }
        led: Tensor | None = None
        if self.teacher is not None and not wanted.isdisjoint(losses.TEACHER_TERMS):
            led = self.teacher(batch.aged, batch.face)
        if "teacher" in wanted and led is not None:
            found["teacher"] = self._follow(restored, led, batch)
        if self.identity is not None and not wanted.isdisjoint(losses.IDENTITY_TERMS):
            found |= {
                name: term for name, term in _identify(self.identity, restored, led, batch).items() if name in wanted
            }
        if "perceptual" in wanted and self.features is not None:
            with torch.no_grad():
                known = self.features(batch.target)
            found["perceptual"] = losses.perceptual(self.features(restored), known)
        return found

    def _follow(self, restored: Tensor, led: Tensor, batch: Batch) -> Tensor:
        if not self.recipe.teacher_confidence:
            return losses.charbonnier(restored, led)
        trust = confidence(led, batch.aged, batch.target)
        return losses.charbonnier(restored, led, trust) + losses.charbonnier(restored, batch.target, 1 - trust)


def _identify(embed: IdentityEmbedder, restored: Tensor, led: Tensor | None, batch: Batch) -> dict[str, Tensor]:
    """All identity terms from one embedding of the restored faces."""
    with torch.no_grad():
        known = embed(batch.target)
        by_teacher = None if led is None else embed(led.clamp(0, 1))
    embedded = embed(restored.clamp(0, 1))
    found = {"identity": losses.identity(embedded, known)}
    if len(embedded) > 1:
        found["relational"] = relational(embedded, known)
    if by_teacher is not None:
        found["identity_teacher"] = losses.identity(embedded, by_teacher)
    return found


def _crop_at(side: int, crop: int, generator: torch.Generator) -> tuple[slice, slice]:
    top, left = torch.randint(side - crop + 1, (2,), generator=generator).tolist()
    return slice(top, top + crop), slice(left, left + crop)


def _open_teacher(recipe: Recipe, side: int, device: str, cache: Path | None) -> Teacher | CachedTeacher:
    """Open the recipe's teacher and make sure that it can restore what the stages show it."""
    if cache is not None and recipe.wants(*losses.INNER_TERMS):
        terms = " and ".join(losses.INNER_TERMS)
        raise RecipeError(f"no cache with {terms}, which are read off the teacher at work", f"the cache {cache}")
    teacher = open_teacher(recipe.teacher, device, side)
    for stage in recipe.stages:
        if any(stage.losses.get(term) for term in losses.TEACHER_TERMS):
            teacher.check_crop(stage.crop)
    return teacher if cache is None else CachedTeacher(teacher, cache)
