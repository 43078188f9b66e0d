"""The training loop: schedules, the averaged weights that ship, exact resume and a log of JSON lines.

Everything drawn in a step depends on the recipe's seed and the step's number alone, so that a run killed at any moment
and resumed from its last state takes the same steps as one that was left alone.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..runtime.atomic import replacing_file
from ..runtime.errors import CheckpointError, RecipeError
from ..runtime.models.checkpoint import save_checkpoint
from .losses import weighted_sum
from .recipe import OptimiserRecipe, Recipe
from .task import RestorationTask, build_model

STATE = "state.pt"
LOG = "log.jsonl"
AVERAGED = "averaged.safetensors"


@dataclass(frozen=True)
class Progress:
    """What a step tells whoever watches: its number from 1, all steps, the weighted loss and its terms."""

    step: int
    steps: int
    loss: float
    terms: dict[str, float]
    faces_per_second: float


class Trainer:
    """Trains the network of a recipe in a folder of its own.

    Args:
        recipe: what to do.
        faces: training faces (M, S, S, 3) uint8.
        folder: holds the state, the log and the averaged checkpoint.
        fabric: where to run: device, precision, number of processes.
        provenance: JSON values on the data and its licence, stored in the checkpoint.

    Raises:
        RecipeError: the folder holds the state of another recipe.
        CheckpointError: the folder's state is damaged.
    """

    def __init__(
        self, recipe: Recipe, faces: Tensor, folder: Path, fabric: Fabric, provenance: dict[str, object]
    ) -> None:
        self.recipe, self.folder, self.fabric, self.provenance = recipe, folder, fabric, provenance
        folder.mkdir(parents=True, exist_ok=True)
        self.task = RestorationTask(recipe, faces.to(fabric.device))
        model = build_model(recipe)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        settings = recipe.optimiser
        beta1, beta2 = settings.betas
        optimiser = torch.optim.AdamW(
            trained, lr=settings.learning_rate, betas=(beta1, beta2), weight_decay=settings.weight_decay
        )
        self.model, self.optimiser = fabric.setup(model, optimiser)
        self.averaged = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.step = 0
        if (folder / STATE).exists():
            self._resume()

    def run(self, report: Callable[[Progress], None], save_every: int, until: int | None = None) -> None:
        """Train to the recipe's end.

        Args:
            report: called after every step.
            save_every: steps between states on disk.
            until: stop after this step, for a run in parts.
        """
        last = self.recipe.steps if until is None else min(until, self.recipe.steps)
        self.model.train()
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            while self.step < last:
                progress = self._take_step()
                report(progress)
                log.write(json.dumps(dataclasses.asdict(progress)) + "\n")
                if self.step % save_every == 0 or self.step == last:
                    log.flush()
                    self.save()

    def save(self) -> None:
        """Write the state to resume from and the averaged checkpoint, each whole or not at all."""
        if self.fabric.global_rank == 0:
            state = {
                "recipe": _describe(self.recipe),
                "step": self.step,
                "model": _inner(self.model).state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "averaged": self.averaged.state_dict(),
            }
            with replacing_file(self.folder / STATE) as temporary:
                torch.save(state, temporary)
            training = {**self.provenance, "steps": self.step, "recipe": _without_places(self.recipe)}
            save_checkpoint(self.folder / AVERAGED, self.averaged, training=training)
        self.fabric.barrier()

    def _take_step(self) -> Progress:
        began = time.perf_counter()
        stage, place = self.recipe.stage_at(self.step)
        rate = learning_rate_factor(self.recipe.optimiser, stage.rate, self.step, place)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.optimiser.learning_rate * rate
        with self.fabric.autocast():
            terms = self.task.losses(self.model, stage, self._draw_number())
        loss = weighted_sum(terms, {name: weight for name, weight in stage.losses.items() if weight})
        if not bool(torch.isfinite(loss)):
            raise CheckpointError("a finite loss", f"{float(loss)} at step {self.step}", "resume with a lower rate")
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.model, self.optimiser, max_norm=self.recipe.optimiser.clip)
        self.optimiser.step()
        self.step += 1
        self._average()
        speed = stage.batch * self.fabric.world_size / (time.perf_counter() - began)
        named = {name: float(term.detach()) for name, term in terms.items()}
        return Progress(self.step, self.recipe.steps, float(loss.detach()), named, speed)

    def _draw_number(self) -> int:
        """Different on every process, so that each sees other faces, and the same after a resume."""
        return self.step * self.fabric.world_size + self.fabric.global_rank

    def _average(self) -> None:
        # A young average forgets its first steps faster, else it would carry the random beginning for long.
        decay = min(self.recipe.optimiser.ema, (1 + self.step) / (10 + self.step))
        live = _inner(self.model).state_dict()
        with torch.no_grad():
            for name, value in self.averaged.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(live[name].to(value.device), 1 - decay)

    def _resume(self) -> None:
        path = self.folder / STATE
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise CheckpointError("a whole training state", f"{path}: {error}", "remove it to start anew") from error
        if state["recipe"] != _describe(self.recipe):
            raise RecipeError(f"the recipe that {self.folder} was begun with", "another", "choose another folder")
        _inner(self.model).load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.averaged.load_state_dict(state["averaged"])
        self.step = state["step"]


def learning_rate_factor(settings: OptimiserRecipe, rate: tuple[float, ...], step: int, place: float) -> float:
    """Factor on the learning rate: a half cosine between the stage's two rates, under the warm-up's ramp."""
    begin, end = rate
    cosine = end + (begin - end) * (1 + math.cos(math.pi * place)) / 2
    return cosine * min(1.0, (step + 1) / max(1, settings.warmup))


def _without_places(recipe: Recipe) -> dict[str, Any]:
    """The recipe for a checkpoint's header: files by name, since their folders mean nothing elsewhere."""
    model = dataclasses.replace(recipe.model, start=Path(recipe.model.start).name)
    named = dataclasses.replace(
        recipe, model=model, teacher=Path(recipe.teacher).name, identity=Path(recipe.identity).name
    )
    return dataclasses.asdict(named)


def _describe(recipe: Recipe) -> str:
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def _inner(model: Any) -> nn.Module:
    return model.module
