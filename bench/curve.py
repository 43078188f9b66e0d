"""Learning curves as SVG: the loss of runs against the faces they saw, or measured gains against training compute.

    python -m pocketface.bench.curve runs/teacher runs/student --term pixel -o loss.svg
    python -m pocketface.bench.curve --tables early.json late.json --levels medium severe -o gain.svg
A run is a folder of `pocketface distill`: its log tells the loss, the header of its checkpoint the faces of each step.
`--tables` takes what `python -m pocketface.bench.accuracy` wrote with -o. Checkpoints of one run that are labelled
`NAME@ANYTHING` there, as in `teacher@1000=runs/teacher-1000.safetensors`, make one line a level.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.atomic import replacing_file
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from ..runtime.models.checkpoint import load_model
from .chart import Series, line_chart
from .effort import faces_by_step
from .readme import read_report

LOG, AVERAGED = "log.jsonl", "averaged.safetensors"
# Single batches differ more than a run learns in hundreds of steps: means over stretches show the trend.
_STRETCHES = 40
_TERA = 1e12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="folders of pocketface distill")
    parser.add_argument("--term", default="loss", help="one term of the loss (default: loss, the weighted sum)")
    parser.add_argument("--tables", type=Path, nargs="+", metavar="FILE", help="figures of pocketface.bench.accuracy")
    parser.add_argument("--levels", nargs="+", metavar="LEVEL", help="with --tables: only these (default: all)")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE", help="SVG to write")


def run(arguments: argparse.Namespace) -> int:
    """Draw one of the two."""
    if bool(arguments.runs) == bool(arguments.tables):
        raise InputError("runs, or tables with --tables", "both" if arguments.runs else "neither")
    if arguments.runs:
        series = [loss_of(folder, arguments.term) for folder in arguments.runs]
        drawn = line_chart("Loss while training", "faces seen", _axis_of(arguments.term), series)
    else:
        series = gains_of([read_report(path) for path in arguments.tables], arguments.levels)
        what = "forward passes over all faces seen, 10¹² multiply-accumulates"
        drawn = line_chart("What more training buys", what, "gain over the input, dB", series, log_x=True)
    with replacing_file(arguments.output) as temporary:
        temporary.write_text(drawn, encoding="utf-8")
    return 0


def loss_of(folder: Path, term: str) -> Series:
    """The loss of a run against faces seen, averaged over short stretches.

    Args:
        folder: with the log and the averaged checkpoint.
        term: a term of the loss, or `loss` for the weighted sum.

    Raises:
        InputError: no log, or none of its steps has the term.
        CheckpointError: the checkpoint is missing or damaged.
    """
    found: dict[int, float] = {}
    for line in _lines(folder / LOG):
        value = line["loss"] if term == "loss" else line["terms"].get(term)
        if value is not None:
            found[line["step"]] = value  # a resumed run takes steps again that its last state had lost
    if not found:
        raise InputError(f"steps with the term '{term}' in {folder / LOG}", "none", "name another --term")
    steps = np.array(sorted(found))
    faces = faces_by_step(load_model(folder / AVERAGED)[1].training, int(steps[-1]))[steps - 1]
    losses = np.array([found[step] for step in steps])
    parts = np.array_split(np.arange(len(steps)), min(_STRETCHES, len(steps)))
    points = [(float(faces[part].mean()), float(losses[part].mean()), 0.0) for part in parts]
    return Series(folder.resolve().name, points, dots=False)


def gains_of(reports: Iterable[Mapping[str, Any]], levels: Sequence[str] | None = None) -> list[Series]:
    """Measured gains against compute, one line a name and level.

    Args:
        reports: of the accuracy command.
        levels: only these; None takes all.

    Raises:
        InputError: no restorer whose checkpoint tells its training.
    """
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for report in reports:
        for score in (report["quality"] or {}).get("scores", []):
            effort = report["training"].get(score["method"])
            if effort and effort["macs"] and (levels is None or score["level"] in levels):
                name = f"{score['method'].partition('@')[0]}, {score['level']}"
                gain = score["gain_db"]
                lines.setdefault(name, []).append((effort["macs"] / _TERA, gain["mean"], gain["error"] or 0.0))
    if not lines:
        raise InputError("tables of checkpoints that tell all their training", "none", "score .safetensors of distill")
    return [Series(name, sorted(points)) for name, points in lines.items()]


def _axis_of(term: str) -> str:
    return "loss" if term == "loss" else f"loss term: {term}"


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    except (OSError, ValueError) as error:
        raise InputError("the log of a training run", f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.curve"))
