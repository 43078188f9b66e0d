"""Restraint: what a restorer does where there is nothing, or little, to do.

    python -m pocketface.bench.restraint --crops crops --judge judge.ckpt --every 5 base=student-base -o restraint.json
    python -m pocketface.bench.readme restraint.json docs/restraint.md
On faces that were not trained on: a clean face should come back as it was, a restored one should not change much when
it is restored again, grey should stay grey, sepia should keep its tone, and no colour should be cast on anybody.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..distill.faces import read_crops
from ..runtime import metrics
from ..runtime.cli import positive, run_module
from ..runtime.images import to_faces
from ..runtime.look import LUMA
from ..runtime.parity import Embed
from ..runtime.restorer import Faces, Restorer
from .accuracy import add_restorer_arguments, every_nth
from .candidates import named_candidates
from .faces_set import degrade_sample, read_alike
from .lineup import NOT_RESTORERS
from .parity_command import choose_judge
from .readme import markdown, write_table
from .resized import at_size
from .trials import restore_all

_LEVEL = "medium"
_WHITE = 255.0
# The tone of a sepia print: what white and black become in between is this colour, darker or lighter.
_SEPIA = np.array([1.0, 0.89, 0.71], np.float32)


def measure(restorer: Restorer, clean: Faces, aged: Faces, judge: Embed | None) -> dict[str, float]:
    """Measure one restorer.

    Args:
        restorer: takes the faces' size.
        clean: (N, 3, S, S), as they are.
        aged: the same people, degraded.
        judge: aligned faces -> embeddings, or None.

    Returns:
        Figure -> value; differences are in grey levels of 255.
    """
    untouched, once = restore_all(restorer, clean), restore_all(restorer, aged)
    twice = restore_all(restorer, once)
    grey = np.repeat(_luma(aged), 3, axis=1)
    sepia = np.clip(_luma(aged) * _SEPIA[:, None, None], 0, 1).astype(np.float32)
    grey_after, sepia_after = restore_all(restorer, grey), restore_all(restorer, sepia)
    found = {
        "clean face, PSNR dB": float(metrics.psnr(clean, untouched).mean()),
        "clean face, mean change": _WHITE * float(np.abs(clean - untouched).mean()),
    }
    if judge is not None:
        found["clean face, judge cosine, least"] = float(metrics.identity_cosine(judge(clean), judge(untouched)).min())
    return found | {
        "restored again, PSNR dB": float(metrics.psnr(once, twice).mean()),
        "restored again, mean change": _WHITE * float(np.abs(once - twice).mean()),
        "first time, mean change": _WHITE * float(np.abs(aged - once).mean()),
        "grey, greatest chroma, mean face": _WHITE * float(np.ptp(grey_after, axis=1).max(axis=(1, 2)).mean()),
        "grey, mean chroma": _WHITE * float(np.ptp(grey_after, axis=1).mean()),
        "sepia, shift of the tone, worst face": _WHITE * _shift(sepia, sepia_after),
        "colour cast, worst face": _WHITE * _shift(clean, once),
        "colour cast of the input, worst face": _WHITE * _shift(clean, aged),
    }


def _luma(faces: Faces) -> Faces:
    return np.tensordot(faces, LUMA, axes=(1, 0))[:, None].astype(np.float32)


def _shift(before: Faces, after: Faces) -> float:
    """The greatest shift of a face's mean colour against its own mean brightness, which may change."""
    means = (after - before).mean(axis=(2, 3), dtype=np.float64)
    return float(np.abs(means - means.mean(axis=1, keepdims=True)).max())


def rows_of(found: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """The table: a figure a row, a restorer a column."""
    figures = list(next(iter(found.values())))
    rows = [[figure, *(f"{found[label][figure]:.2f}" for label in found)] for figure in figures]
    return [["", *found], *rows]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_restorer_arguments(parser)
    parser.add_argument("--every", type=positive, default=5, metavar="N", help="use every N-th face (default: 5)")
    parser.add_argument("--judge", default="none", metavar="PATH", help="identity network, by path or name")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure everybody and print the table."""
    candidates = named_candidates(arguments.restorers, NOT_RESTORERS, arguments.device)
    crops = every_nth(read_crops(arguments.crops, "validation"), arguments.every)
    pixels = read_alike(arguments.crops, crops)
    judge = choose_judge(arguments.judge)
    clean = to_faces(pixels)
    aged = degrade_sample(pixels, _LEVEL, arguments.every)
    found = {one.label: measure(at_size(one.open(), len(pixels[0])), clean, aged, judge) for one in candidates}
    rows = rows_of(found)
    if arguments.output is not None:
        write_table(arguments.output, "restraint", rows, faces=len(clean))
    sys.stdout.write(f"{markdown(rows)}\n{len(clean)} faces\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.restraint"))
