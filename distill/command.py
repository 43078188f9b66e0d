"""Train a network from a recipe: a teacher, or a student that follows one.

Photographs become aligned crops once:
    python -m pocketface.distill.faces --photos PHOTOS --output crops
and a recipe, by name or as a TOML file, says the rest:
    pocketface distill teacher_small --crops crops --output runs/teacher
    pocketface distill student_base --crops crops --output runs/student --teacher runs/teacher/averaged.safetensors
A run that was stopped, by whatever means, goes on when the same command is given again. The folder then holds
`averaged.safetensors` (what to export), `log.jsonl` (one line a step) and `state.pt` (what to resume from).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import trainer
from .faces import Crop, load_crops, read_crops
from .recipe import read_recipe, shipped_recipes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface distill`."""
    parser.add_argument("recipe", help=f"a .toml file or one of: {', '.join(shipped_recipes())}")
    parser.add_argument("--crops", type=Path, required=True, help="folder of aligned crops with crops.csv")
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder of the run, made or gone on with")
    parser.add_argument("--teacher", help="checkpoint to follow, by shipped name or path, in place of the recipe's")
    parser.add_argument("--start", help="checkpoint to begin with, by shipped name or path, in place of the recipe's")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"), help="default: 32-true")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--save-every", type=int, default=250, help="steps between states on disk (default: 250)")
    parser.add_argument("--until", type=int, help="stop after this step; the same command later goes on")


def run(arguments: argparse.Namespace) -> int:
    """Train to the end of the recipe, or to `--until`."""
    recipe = read_recipe(arguments.recipe)
    if arguments.teacher is not None:
        recipe = dataclasses.replace(recipe, teacher=arguments.teacher)
    if arguments.start is not None:
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, start=arguments.start))
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    crops = read_crops(arguments.crops, "train")
    faces = torch.from_numpy(load_crops(arguments.crops, crops))
    fabric = Fabric(accelerator=arguments.device, devices=1, precision=arguments.precision)
    fabric.launch()
    loop = trainer.Trainer(recipe, faces, arguments.output, fabric, _provenance(crops))
    with _shown(loop.step, recipe.steps) as report:
        loop.run(report, arguments.save_every, arguments.until)
    sys.stdout.write(f"step {loop.step} of {recipe.steps}: {arguments.output / trainer.AVERAGED}\n")
    return 0


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
def _shown(done: int, steps: int) -> Iterator[Callable[[trainer.Progress], None]]:
    """A progress bar on a terminal, silence elsewhere: the log has every step."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=steps, completed=done)

        def report(progress: trainer.Progress) -> None:
            named = "  ".join(f"{name} {value:.4f}" for name, value in progress.terms.items())
            bar.update(task, completed=progress.step, description=f"{named}  {progress.faces_per_second:.1f} faces/s")

        yield report
