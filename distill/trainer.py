"""The training loop: schedules, the averaged weights that ship, exact resume and a log of JSON lines.

Everything drawn in a step depends on the recipe's seed and the step's number alone, so that a run killed at any moment
and resumed from its last state takes the same steps as one that was left alone.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import pickle
import time
import typing
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..runtime.atomic import make_folder, replacing_file
from ..runtime.errors import CheckpointError, RecipeError
from ..runtime.models.checkpoint import save_checkpoint
from .ahead import Ahead
from .clock import Clock
from .critics import Adversary
from .distillation import Lesson
from .losses import INNER_TERMS, weighted_sum
from .quantised import EightBit, Reduce
from .recipe import OptimiserRecipe, Recipe, Stage, make_recipe
from .task import Batch, RestorationTask, build_model
from .teachers import Teacher

STATE = "state.pt"
LOG = "log.jsonl"
AVERAGED = "averaged.safetensors"
# Critics draw their augmentation from numbers that no batch has.
_CRITICS_DRAW = 2**40


@dataclass(frozen=True)
class Progress:
    """What a step tells whoever watches.

    Args:
        step: its number, from 1.
        steps: of the whole recipe.
        loss: the weighted sum.
        terms: each term before weighting, and what the critics say of themselves.
        faces_per_second: of all processes together.
        seconds: by section of the step (`clock.SECTIONS`), of this process.
    """

    step: int
    steps: int
    loss: float
    terms: dict[str, float]
    faces_per_second: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Speed:
    """How to run, which changes the time a step takes and hardly its result.

    Args:
        compiled: let `torch.compile` fuse the trained network; costs minutes once, pays in long runs.
        channels_last: keep feature maps as (N, H, W, C) in memory.
        ahead: prepare the next batch while this one trains; None does where the device is a GPU.
        exact_clock: wait for the device at the end of each section of a step, to profile it.
    """

    compiled: bool = False
    channels_last: bool = False
    ahead: bool | None = None
    exact_clock: bool = False


class Trainer:
    """Trains the network of a recipe in a folder of its own.

    Args:
        recipe: what to do.
        faces: training faces (M, S, S, 3) uint8.
        folder: holds the state, the log and the averaged checkpoint.
        fabric: where to run: device, precision, number of processes.
        provenance: JSON values on the data and its licence, stored in the checkpoint.
        speed: how to run.
        teacher_cache: folder that keeps what a slow teacher said; None for none.

    Raises:
        RecipeError: the folder holds the state of another recipe.
        CheckpointError: the folder's state is damaged.
        OutputError: the folder cannot be made.
    """

    def __init__(
        self,
        recipe: Recipe,
        faces: Tensor,
        folder: Path,
        fabric: Fabric,
        provenance: dict[str, object],
        speed: Speed = Speed(),
        teacher_cache: Path | None = None,
    ) -> None:
        self.recipe, self.folder, self.fabric, self.provenance = recipe, folder, fabric, provenance
        make_folder(folder)
        self.task = RestorationTask(recipe, faces.to(fabric.device), teacher_cache)
        model, self.began_with = build_model(recipe)
        self.averaged = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.lesson: Lesson | None = None
        if isinstance(self.task.teacher, Teacher) and recipe.wants(*INNER_TERMS):
            self.lesson = Lesson(model, self.task.teacher.network, fabric)
        reduce = typing.cast("Reduce", fabric.all_reduce)
        self.eight_bit = EightBit(model, reduce) if recipe.rounds else None
        learning = [model] if self.lesson is None else [model, self.lesson.adapters]
        trained = [weight for part in learning for weight in part.parameters() if weight.requires_grad]
        settings = recipe.optimiser
        beta1, beta2 = settings.betas
        optimiser = torch.optim.AdamW(
            trained, lr=settings.learning_rate, betas=(beta1, beta2), weight_decay=settings.weight_decay
        )
        self.model, self.optimiser = fabric.setup(model, optimiser)
        self.averaged.to(fabric.device)
        if speed.channels_last:
            model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing from torch's stub
        if speed.compiled:
            model.compile(dynamic=False)
        terms = recipe.adversarial_terms
        self.adversary = Adversary(recipe.critics, terms, fabric) if terms else None
        self.clock = Clock(fabric.device, exact=speed.exact_clock)
        self.ahead = fabric.device.type == "cuda" if speed.ahead is None else speed.ahead
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
        with Ahead(self._draw, active=self.ahead) as batches, self._log() as log:
            while self.step < last:
                progress = self._take_step(batches)
                report(progress)
                log.write(json.dumps(dataclasses.asdict(progress)) + "\n")
                if self.step % save_every == 0 or self.step == last:
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
                "adapters": None if self.lesson is None else _inner(self.lesson.adapters).state_dict(),
                "adversary": None if self.adversary is None else self.adversary.state(),
                "ranges": None if self.eight_bit is None else self.eight_bit.ranges,
            }
            with replacing_file(self.folder / STATE) as temporary:
                torch.save(state, temporary)
            training = {**self.provenance, "steps": self.step, "recipe": _without_places(self.recipe)}
            if self.began_with is not None:
                training["began_with"] = self.began_with
            save_checkpoint(self.folder / AVERAGED, self.averaged, training=training)
        self.fabric.barrier()

    def _log(self) -> TextIO:
        """The log, line by line; one process writes it."""
        path = self.folder / LOG if self.fabric.global_rank == 0 else Path(os.devnull)
        return path.open("a", encoding="utf-8", buffering=1)

    def _take_step(self, batches: Ahead) -> Progress:
        began = time.perf_counter()
        stage, place = self.recipe.stage_at(self.step)
        settings = self.recipe.optimiser
        rate = learning_rate_factor(settings, stage.rate, self.step, place)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate
        named: dict[str, float] = {}
        for part in range(settings.accumulate):
            for name, value in self._learn(stage, part, rate, batches).items():
                named[name] = named.get(name, 0.0) + value / settings.accumulate
        with self.clock.section("update"):
            self.fabric.clip_gradients(self.model, self.optimiser, max_norm=settings.clip)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.step += 1
            self._average()
        faces = stage.batch * settings.accumulate * self.fabric.world_size
        loss, speed = named.pop("loss"), faces / (time.perf_counter() - began)
        return Progress(self.step, self.recipe.steps, loss, named, speed, self.clock.take())

    def _learn(self, stage: Stage, part: int, rate: float, batches: Ahead) -> dict[str, float]:
        """Add one batch's gradients and let the critics learn from it; gives the loss and its terms."""
        number = self._number(self.step, part)
        with self.clock.section("data"):
            batch = batches.get(number, self._number_after(part))
        last = part + 1 == self.recipe.optimiser.accumulate
        rounded = nullcontext() if self.eight_bit is None else self.eight_bit.at_work(stage.rounding)
        with rounded, self.fabric.no_backward_sync(self.model, enabled=not last), self.fabric.autocast():
            with self.clock.section("forward"):
                restored = self.task.restore(self.model, batch)
            with self.clock.section("losses"):
                terms = self._terms(stage, restored, batch, number)
                loss = weighted_sum(terms, {name: weight for name, weight in stage.losses.items() if weight})
            if not bool(torch.isfinite(loss)):
                raise CheckpointError("a finite loss", f"{float(loss)} at step {self.step}", "resume with a lower rate")
            with self.clock.section("backward"):
                self.fabric.backward(loss / self.recipe.optimiser.accumulate)
        named = {"loss": float(loss.detach())} | {name: float(term.detach()) for name, term in terms.items()}
        if self.adversary is not None and (judged := _judged(self.recipe, stage)):
            with self.clock.section("critics"), self.fabric.autocast():
                generator = self.task.generator(2 * _CRITICS_DRAW + number)
                penalise = self.step % self.recipe.critics.r1_every == 0
                named |= self.adversary.learn(
                    restored.detach(), batch.target, judged, rate, generator, penalise=penalise
                )
        return named

    def _terms(self, stage: Stage, restored: Tensor, batch: Batch, number: int) -> dict[str, Tensor]:
        terms = self.task.terms(stage.losses, restored, batch)
        if self.lesson is not None and any(stage.losses.get(name) for name in INNER_TERMS):
            terms |= {name: term for name, term in self.lesson.terms().items() if stage.losses.get(name)}
        heard = [name for name in _judged(self.recipe, stage) if stage.losses[name]]
        if self.adversary is not None and heard:
            terms |= self.adversary.judge(restored, heard, self.task.generator(_CRITICS_DRAW + number))
        return terms

    def _draw(self, number: int) -> Batch:
        step = number // (self.fabric.world_size * self.recipe.optimiser.accumulate)
        return self.task.draw(self.recipe.stage_at(step)[0], number)

    def _number(self, step: int, part: int) -> int:
        """A batch's number: different on every process, so that each sees other faces, and the same after a resume."""
        return (step * self.recipe.optimiser.accumulate + part) * self.fabric.world_size + self.fabric.global_rank

    def _number_after(self, part: int) -> int | None:
        if part + 1 < self.recipe.optimiser.accumulate:
            return self._number(self.step, part + 1)
        return self._number(self.step + 1, 0) if self.step + 1 < self.recipe.steps else None

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
        # Read, not compared as text: what recipes could not say when the run began has its default.
        if make_recipe(json.loads(state["recipe"]), str(path)) != self.recipe:
            raise RecipeError(f"the recipe that {self.folder} was begun with", "another", "choose another folder")
        _inner(self.model).load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.averaged.load_state_dict(state["averaged"])
        if self.adversary is not None:
            self.adversary.load(state["adversary"])
        if self.lesson is not None:
            _inner(self.lesson.adapters).load_state_dict(state["adapters"])
        if self.eight_bit is not None:
            self.eight_bit.ranges = state["ranges"]
        self.step = state["step"]


def learning_rate_factor(settings: OptimiserRecipe, rate: tuple[float, ...], step: int, place: float) -> float:
    """Factor on the learning rate: a half cosine between the stage's two rates, under the warm-up's ramp."""
    begin, end = rate
    cosine = end + (begin - end) * (1 + math.cos(math.pi * place)) / 2
    return cosine * min(1.0, (step + 1) / max(1, settings.warmup))


def _judged(recipe: Recipe, stage: Stage) -> list[str]:
    return [name for name in recipe.adversarial_terms if name in stage.losses]


def _without_places(recipe: Recipe) -> dict[str, Any]:
    """The recipe for a checkpoint's header: files by name, since their folders mean nothing elsewhere."""
    model = dataclasses.replace(recipe.model, start=Path(recipe.model.start).name)
    named = dataclasses.replace(
        recipe,
        model=model,
        teacher=Path(recipe.teacher).name,
        identity=Path(recipe.identity).name,
        perceptual=Path(recipe.perceptual).name,
    )
    return dataclasses.asdict(named)


def _describe(recipe: Recipe) -> str:
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def _inner(model: Any) -> nn.Module:
    return model.module
