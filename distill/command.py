"""Train a network from a recipe: a teacher, or a student that follows one.

Photographs become aligned crops once:
    python -m pocketface.distill.faces --photos PHOTOS --output crops
and a recipe, by name or as a TOML file, says the rest:
    pocketface distill teacher_small --crops crops --output runs/teacher
    pocketface distill student_base --crops crops --output runs/student --teacher runs/teacher/averaged.safetensors
    pocketface distill student_base --crops crops --output runs/student --teacher GFPGANv1.4.pth --teacher-cache said
Several GPUs, here or on several machines, run the same command under torchrun:
    torchrun --nproc-per-node 8 -m pocketface.distill teacher_fidelity --crops crops --output runs/teacher
A run that was stopped, by whatever means, goes on when the same command is given again. The folder then holds
`averaged.safetensors` (what to export), `log.jsonl` (one line a step) and `state.pt` (what to resume from).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..runtime.backends.pytorch import find_device
from ..runtime.cli import positive
from ..runtime.errors import RecipeError
from . import trainer
from .faces import Crop, load_crops, read_crops
from .losses import TEACHER_TERMS
from .recipe import read_recipe, shipped_recipes
from .sheet import SampleSheet

Report: TypeAlias = Callable[[trainer.Progress], None]
_SHEET_FACES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface distill`."""
    parser.add_argument("recipe", help=f"a .toml file or one of: {', '.join(shipped_recipes())}")
    parser.add_argument("--crops", type=Path, required=True, help="folder of aligned crops with crops.csv")
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder of the run, made or gone on with")
    parser.add_argument("--teacher", help="whom to follow in place of the recipe's: see docs/teachers.md")
    parser.add_argument("--teacher-cache", type=Path, metavar="FOLDER", help="keep what a slow teacher says on disk")
    parser.add_argument("--start", help="checkpoint to begin with, by shipped name or path, in place of the recipe's")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"), help="default: 32-true")
    parser.add_argument(
        "--compile", action="store_true", help="fuse the network with torch.compile: slow start, faster steps"
    )
    parser.add_argument(
        "--channels-last",
        action="store_true",
        help="channels-last feature maps: for GPUs, and the student on CPUs",
    )
    parser.add_argument(
        "--sheet-every", type=positive, metavar="N", help="steps between sheets of samples (default: none)"
    )
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's choice)")
    parser.add_argument("--save-every", type=positive, default=250, help="steps between states on disk (default: 250)")
    parser.add_argument("--until", type=positive, help="stop after this step; the same command later goes on")


def run(arguments: argparse.Namespace) -> int:
    """Train to the end of the recipe, or to `--until`."""
    recipe = read_recipe(arguments.recipe)
    if arguments.teacher is not None:
        if not recipe.wants(*TEACHER_TERMS):
            terms = ", ".join(TEACHER_TERMS)
            raise RecipeError(
                f"a recipe with a weight for {terms}", f"--teacher for {arguments.recipe}, which has none"
            )
        recipe = dataclasses.replace(recipe, teacher=arguments.teacher)
    if arguments.start is not None:
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, start=arguments.start))
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    crops = read_crops(arguments.crops, "train")
    faces = torch.from_numpy(load_crops(arguments.crops, crops))
    fabric = open_fabric(arguments.device, arguments.precision)
    speed = trainer.Speed(arguments.compile, arguments.channels_last)
    loop = trainer.Trainer(recipe, faces, arguments.output, fabric, _provenance(crops), speed, arguments.teacher_cache)
    with _shown(loop.step, recipe.steps, hidden=fabric.global_rank > 0) as show:
        loop.run(_with_sheets(show, loop, arguments), arguments.save_every, arguments.until)
    if fabric.global_rank == 0:
        sys.stdout.write(f"step {loop.step} of {recipe.steps}: {arguments.output / trainer.AVERAGED}\n")
    return 0


def open_fabric(device: str, precision: str) -> Fabric:
    """Open one device, or, under torchrun, all that it started processes for.

    Args:
        device: `cpu`, `cuda`, `mps` or `auto`.
        precision: `32-true` or `bf16-mixed`.

    Raises:
        BackendError: PyTorch lacks the device.
    """
    find_device(device)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // here
    fabric = Fabric(accelerator=device, devices=here, num_nodes=nodes, precision=typing.cast("Any", precision))
    fabric.launch()
    return fabric


def _with_sheets(show: Report, loop: trainer.Trainer, arguments: argparse.Namespace) -> Report:
    """Add a sheet of samples every so many steps, of validation faces from all over the table."""
    every: int | None = arguments.sheet_every
    if every is None or loop.fabric.global_rank > 0:
        return show
    crops = read_crops(arguments.crops, "validation")
    chosen = [crops[index * len(crops) // _SHEET_FACES] for index in range(min(_SHEET_FACES, len(crops)))]
    sheet = SampleSheet(list(load_crops(arguments.crops, chosen)), arguments.output / "sheets")

    def report(progress: trainer.Progress) -> None:
        show(progress)
        if progress.step % every == 0:
            sheet.write(loop.averaged, progress.step)

    return report


def _provenance(crops: list[Crop]) -> dict[str, object]:
    groups = sorted({crop.group for crop in crops})
    return {
        "data": {
            group: {
                "faces": sum(crop.group == group for crop in crops),
                "people": len({crop.identity for crop in crops if crop.group == group}),
                "licence": sorted({crop.licence for crop in crops if crop.group == group}),
            }
            for group in groups
        }
    }


@contextmanager
def _shown(done: int, steps: int, *, hidden: bool) -> Iterator[Report]:
    """A progress bar on a terminal, silence elsewhere: the log has every step."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=hidden or not console.is_terminal) as bar:
        task = bar.add_task("", total=steps, completed=done)

        def report(progress: trainer.Progress) -> None:
            named = "  ".join(f"{name} {value:.4f}" for name, value in progress.terms.items())
            bar.update(task, completed=progress.step, description=f"{named}  {progress.faces_per_second:.1f} faces/s")

        yield report
