"""Write a trained network for shipping: float16 weights with the figures and terms that belong to them.

`python -m pocketface.distill.ship runs/student/averaged.safetensors --output student_base.safetensors`
`python -m pocketface.distill.ship DETAIL/averaged.safetensors --blend FIDELITY/averaged.safetensors --share 0.5 -o F`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import nn

from ..runtime.cli import run_module
from ..runtime.errors import CheckpointError, InputError
from ..runtime.models.checkpoint import load_model, save_checkpoint

LICENCE = "Apache-2.0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("checkpoint", type=Path, help="averaged.safetensors of a run")
    parser.add_argument(
        "--blend", type=Path, metavar="FILE", help="mix in the weights of the run that this one began from"
    )
    parser.add_argument("--share", type=float, default=0.5, help="of --blend in the mixture (default: 0.5)")
    parser.add_argument("--output", "-o", type=Path, required=True, help="file to write")


def run(arguments: argparse.Namespace) -> int:
    """Convert one checkpoint and say how far float16 moves its weights."""
    model, info = load_model(arguments.checkpoint)
    training: dict[str, object] = {"licence": LICENCE, **info.training}
    if arguments.blend is not None:
        other, mixed = load_model(arguments.blend, info.architecture)
        blend(model, other, arguments.share)
        training["blend"] = {"share": arguments.share, "of": mixed.training}
    digest = save_checkpoint(arguments.output, model, training=training, half=True)
    shipped, _ = load_model(arguments.output, info.architecture)
    moved = max(
        float((one - other).abs().max())
        for one, other in zip(model.state_dict().values(), shipped.state_dict().values(), strict=True)
        if torch.is_floating_point(one)
    )
    size = arguments.output.stat().st_size
    sys.stdout.write(f"{arguments.output}: {size} bytes, sha256 {digest}, weights moved by at most {moved:.2g}\n")
    return 0


def blend(model: nn.Module, other: nn.Module, share: float) -> None:
    """Move a network's weights towards another's, in place.

    Between an adversarial network and the faithful one that it began from lies every compromise of sharpness and error.

    Args:
        model: changed.
        other: of the same shape.
        share: 0 leaves `model` as it is, 1 makes it `other`.

    Raises:
        InputError: a share outside [0, 1].
        CheckpointError: networks of different shapes.

    Source: network interpolation, ESRGAN (Wang et al. 2018).
    """
    if not 0 <= share <= 1:
        raise InputError("a share in [0, 1]", f"{share:g}")
    mine, theirs = model.state_dict(), other.state_dict()
    if {name: value.shape for name, value in mine.items()} != {name: value.shape for name, value in theirs.items()}:
        raise CheckpointError("two networks of one shape to blend", "others", "blend a run with the one it began from")
    for name, value in mine.items():
        if torch.is_floating_point(value):
            value.lerp_(theirs[name], share)


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.distill.ship"))
