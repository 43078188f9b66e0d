"""Write a trained network for shipping: float16 weights with the figures and terms that belong to them.

`python -m pocketface.distill.ship runs/student/averaged.safetensors --output student_base.safetensors`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ..runtime.cli import run_module
from ..runtime.models.checkpoint import load_model, save_checkpoint

LICENCE = "Apache-2.0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("checkpoint", type=Path, help="averaged.safetensors of a run")
    parser.add_argument("--output", "-o", type=Path, required=True, help="file to write")


def run(arguments: argparse.Namespace) -> int:
    """Convert one checkpoint and say how far float16 moves its weights."""
    model, info = load_model(arguments.checkpoint)
    digest = save_checkpoint(arguments.output, model, training={"licence": LICENCE, **info.training}, half=True)
    shipped, _ = load_model(arguments.output, info.architecture)
    moved = max(
        float((one - other).abs().max())
        for one, other in zip(model.state_dict().values(), shipped.state_dict().values(), strict=True)
        if torch.is_floating_point(one)
    )
    size = arguments.output.stat().st_size
    sys.stdout.write(f"{arguments.output}: {size} bytes, sha256 {digest}, weights moved by at most {moved:.2g}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.distill.ship"))
