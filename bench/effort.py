"""How much training a checkpoint has had, read from its own header: what a learning curve is drawn against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import CheckpointError
from ..runtime.models.checkpoint import load_model
from .candidates import Candidate, locate
from .size import count_macs

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Effort:
    """What one process of a run did.

    Args:
        faces: seen, repeats included.
        macs: multiply-accumulates of the forward passes over them; the backward passes cost about twice as much again.
    """

    faces: int
    macs: int


def effort_of(path: Path) -> Effort | None:
    """The effort behind a checkpoint; None where its header does not tell all of it, or it is no checkpoint of ours.

    A run that began with the weights of another one counts both, where its header has the other's.

    Raises:
        CheckpointError: damaged.
    """
    if path.suffix != ".safetensors":
        return None
    model, info = load_model(path)
    stretches: list[_Stretch] = []
    training: Values | None = info.training
    while training is not None:
        stretches += _stretches(training, training.get("steps", 0))
        if training.get("recipe", {}).get("model", {}).get("start") and "began_with" not in training:
            return None
        training = training.get("began_with")
    faces = sum(stretch.steps * stretch.batch for stretch in stretches)
    macs = sum(stretch.steps * stretch.batch * count_macs(model, stretch.crop) for stretch in stretches)
    return Effort(faces, macs) if faces else None


def efforts_of(candidates: Iterable[Candidate]) -> dict[str, Effort]:
    """Label -> effort of those candidates whose checkpoints tell it."""
    found = {candidate.label: effort_of(locate(candidate.path)) for candidate in candidates}
    return {label: effort for label, effort in found.items() if effort is not None}


def faces_by_step(training: Values, steps: int) -> NDArray[np.int64]:
    """Faces seen after each of the first so many steps, (steps,).

    Args:
        training: of a checkpoint's header.
        steps: of the run.

    Raises:
        CheckpointError: the header does not tell the batches of so many steps.
    """
    stretches = _stretches(training, steps)
    told = sum(stretch.steps for stretch in stretches)
    if told < steps:
        raise CheckpointError(f"a checkpoint that tells the batches of {steps} steps", f"those of {told}")
    return np.concatenate([np.full(stretch.steps, stretch.batch) for stretch in stretches]).cumsum()


@dataclass(frozen=True)
class _Stretch:
    """Steps of one batch, in faces, and one crop, in pixels."""

    steps: int
    batch: int
    crop: int


def _stretches(training: Values, steps: int) -> list[_Stretch]:
    """The part of each stage of the recipe in a header that lies within the first so many steps."""
    recipe = training.get("recipe", {})
    batches = recipe.get("optimiser", {}).get("accumulate", 1)
    stretches: list[_Stretch] = []
    for stage in recipe.get("stages", []):
        taken = min(steps, stage["steps"])
        stretches.append(_Stretch(taken, stage["batch"] * batches, stage["crop"]))
        steps -= taken
    return stretches
