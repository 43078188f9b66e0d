"""What each choice in training or shape is worth: the same budget for every run of a plan, one judge for all.

    python -m pocketface.bench.ablation shapes --crops crops --judge judge.ckpt -o shapes
    python -m pocketface.bench.ablation lessons --crops crops --judge judge.ckpt -o lessons --start half.safetensors
A plan is a TOML file, or the name of one that comes with the package: a `recipe` as in `pocketface distill`, and
`runs`, each with a `name`, what it `says` and what it changes (`change`, merged into the recipe key by key). Runs go on
where they were when the same command is given again. The folder then holds `ablation.json` and `ablation.md`.

Faces seen are equal unless a run changes `steps`; the seconds that they took are in the table as well, since a teacher
that must be asked costs as much as the student's own step. Repeat one run with another seed to know what is noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from ..distill.command import open_fabric
from ..distill.faces import load_crops, read_crops
from ..distill.losses import INNER_TERMS, TEACHER_TERMS
from ..distill.recipe import Recipe, make_recipe
from ..distill.trainer import AVERAGED, Trainer
from ..runtime.atomic import make_folder, replacing_file
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError
from ..runtime.models.checkpoint import load_model
from .ablation_table import Row, table_of
from .accuracy import judge_crops
from .candidates import Candidate
from .deployed_speed import time_shapes
from .parity_command import choose_judge
from .scoring import Quality

LEVELS = ("mild", "medium", "severe")
_LOG = "log.jsonl"


@dataclass(frozen=True)
class Run:
    """One line of a plan.

    Args:
        name: of its folder and its row.
        says: what it changes, for people.
        recipe: the plan's, changed.
    """

    name: str
    says: str
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """A question asked of several runs.

    Args:
        title: the question.
        runs: the first is what the others are compared with.
    """

    title: str
    runs: tuple[Run, ...]


def read_plan(source: str, start: str = "") -> Plan:
    """Read a plan by the name of a shipped one or by path.

    Args:
        source: which.
        start: checkpoint that every run begins with; empty for what the plan says.

    Raises:
        InputError: no such plan, no TOML, a key that is missing or unknown, or a name given twice.
        RecipeError: a run whose recipe cannot work.
    """
    shipped = resources.files(__package__ or "").joinpath("plans", f"{source}.toml")
    try:
        text = Path(source).read_text("utf-8") if source.endswith(".toml") else shipped.read_text("utf-8")
        values = tomllib.loads(text)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError("a plan: shapes, lessons, blocks or a TOML file", f"{source}: {error}") from error
    if set(values) != {"title", "recipe", "runs"} or not values["runs"]:
        raise InputError("a plan with title, recipe and runs", f"{', '.join(values)} in {source}")
    runs: list[Run] = []
    for given in values["runs"]:
        if set(given) - {"change"} != {"name", "says"} or given["name"] in {run.name for run in runs}:
            raise InputError("runs with a name of their own, says and change", f"{given} in {source}")
        wanted = _merged(values["recipe"], given.get("change", {}))
        if start:
            wanted = _merged(wanted, {"model": {"start": start}})
        runs.append(Run(given["name"], given["says"], make_recipe(wanted, f"{source}: {given['name']}")))
    return Plan(values["title"], tuple(runs))


def _merged(recipe: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables key by key, and lists of tables (stages) entry by entry; anything else is replaced."""
    merged = dict(recipe)
    for key, value in change.items():
        old = merged.get(key)
        # Losses are one decision: a term that is not named has no weight.
        if key == "losses" or not isinstance(value, (Mapping, list)) or not isinstance(old, (dict, list)):
            merged[key] = value
        elif isinstance(value, Mapping):
            merged[key] = _merged(typing.cast("dict[str, Any]", old), value)
        elif all(isinstance(item, Mapping) for item in value) and len(value) == len(old):
            merged[key] = [_merged(one, other) for one, other in zip(old, value, strict=True)]
        else:
            merged[key] = value
    return merged


def train(run: Run, crops: Path, folder: Path, cache: Path | None, device: str) -> None:
    """Train a run to its end, or go on with it; one that has ended stays as it is."""
    if (folder / AVERAGED).exists() and load_model(folder / AVERAGED)[1].training.get("steps") == run.recipe.steps:
        return
    wants_cache = run.recipe.wants(*TEACHER_TERMS) and not run.recipe.wants(*INNER_TERMS)
    faces = torch.from_numpy(load_crops(crops, read_crops(crops, "train")))
    loop = Trainer(
        run.recipe, faces, folder, open_fabric(device, "32-true"), {}, teacher_cache=cache if wants_cache else None
    )
    began, first = time.monotonic(), loop.step
    loop.run(lambda _: None, save_every=100)
    if loop.step > first:
        sys.stderr.write(f"{run.name}: {loop.step} steps, {time.monotonic() - began:.0f} s\n")


def seconds_of(folder: Path) -> float:
    """Seconds that a run's steps took, without judging and saving; steps taken twice after a stop count once."""
    lines = [json.loads(line) for line in (folder / _LOG).read_text("utf-8").splitlines()]
    return sum({line["step"]: sum(line["seconds"].values()) for line in lines}.values())


def rows_of(plan: Plan, folder: Path, quality: Quality) -> list[Row]:
    """Put figures of training, judge and speed side by side, in the plan's order."""
    models = {run.name: load_model(folder / run.name / AVERAGED, "student")[0] for run in plan.runs}
    milliseconds = time_shapes(models)
    rows = []
    for run in plan.runs:
        faces = sum(stage.steps * stage.batch for stage in run.recipe.stages) * run.recipe.optimiser.accumulate
        scores = {score.level: score for score in quality.scores if score.method == run.name}
        rows.append(Row(run.name, run.says, faces, seconds_of(folder / run.name), milliseconds[run.name], scores))
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("plan", help="shapes, lessons, or a .toml file")
    parser.add_argument("--crops", type=Path, required=True, metavar="FOLDER", help="aligned crops with crops.csv")
    parser.add_argument("--judge", default="none", metavar="PATH", help="identity network, by path or name")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FOLDER", help="one folder a run, and the table"
    )
    parser.add_argument("--start", default="", metavar="FILE", help="checkpoint that every run begins with")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these runs of the plan and stop")
    parser.add_argument("--every", type=positive, default=3, metavar="N", help="judge every N-th face (default: 3)")
    parser.add_argument("--teacher-cache", type=Path, metavar="FOLDER", help="keep what the teacher says on disk")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's choice)")


def run(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet; then judge all and write the table."""
    plan = read_plan(arguments.plan, arguments.start)
    names = [run.name for run in plan.runs]
    if unknown := sorted(set(arguments.only or []) - set(names)):
        raise InputError(f"runs among {', '.join(names)}", ", ".join(unknown))
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    make_folder(arguments.output)
    for one in plan.runs:
        if one.name in (arguments.only or names):
            train(one, arguments.crops, arguments.output / one.name, arguments.teacher_cache, arguments.device)
    if arguments.only:
        return 0
    candidates = [Candidate(name, str(arguments.output / name / AVERAGED), device=arguments.device) for name in names]
    judge = choose_judge(arguments.judge)
    quality = judge_crops(candidates, arguments.crops, judge=judge, levels=LEVELS, every=arguments.every)
    rows = rows_of(plan, arguments.output, quality)
    text = f"{plan.title}\n\n{table_of(rows)}"
    with replacing_file(arguments.output / "ablation.json") as temporary:
        content = {"title": plan.title, "every": arguments.every, "rows": [dataclasses.asdict(row) for row in rows]}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with replacing_file(arguments.output / "ablation.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.ablation"))
