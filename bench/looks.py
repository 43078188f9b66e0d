"""What each look is worth: how near to the truth, how like the person, and how much it changes a clean face.

    python -m pocketface.bench.looks student-base --crops crops --judge judge.ckpt -o looks.json
    python -m pocketface.bench.readme looks.json docs/looks.md
Strengths without tone stand beside the looks, so that a reader sees what the tone alone does. Tone is a matter of
taste: it takes a face away from the truth by design, and the table says how far.
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
from ..runtime.look import style_face
from ..runtime.options import STYLES, PhotoOptions
from ..runtime.parity import Embed
from ..runtime.restorer import Faces
from .accuracy import every_nth
from .candidates import Candidate
from .faces_set import degrade_sample, read_alike
from .parity_command import choose_judge
from .readme import markdown, write_table
from .resized import at_size
from .trials import restore_all

_LEVELS = ("medium", "severe")
_STRENGTHS = (0.25, 0.5, 0.8, 0.9, 1.0)
_WHITE = 255.0
Figures = dict[str, float]


def looks_to_try() -> dict[str, PhotoOptions]:
    """Name -> options: every strength without tone, then every style."""
    plain = {f"{strength:g} alone": PhotoOptions(strength=strength) for strength in _STRENGTHS}
    return plain | {style: PhotoOptions(style=style) for style in STYLES}


def dress(given: Faces, restored: Faces, options: PhotoOptions) -> Faces:
    """Give restored faces a look as photographs get it: the tone first, then as much of both as the strength says.

    Args:
        given, restored: (N, 3, S, S) RGB in [0, 1]; the second at full strength.
        options: of which `look` and `saturation` count.
    """
    toned = np.stack([style_face(np.ascontiguousarray(face), options) for face in restored.transpose(0, 2, 3, 1)])
    strength = np.float32(options.look.strength)
    return (given + strength * (toned.transpose(0, 3, 1, 2) - given)).astype(np.float32)


def measure(
    clean: Faces, aged: Mapping[str, tuple[Faces, Faces]], untouched: Faces, judge: Embed | None, options: PhotoOptions
) -> Figures:
    """Measure one look.

    Args:
        clean: (N, 3, S, S), the truth.
        aged: level -> degraded faces, and what a restorer made of them at full strength.
        untouched: what it made of the clean ones.
        judge: aligned faces -> embeddings, or None.
        options: the look.
    """
    found: Figures = {}
    for level, (given, restored) in aged.items():
        dressed = dress(given, restored, options)
        found[f"{level} dB"] = float((metrics.psnr(clean, dressed) - metrics.psnr(clean, given)).mean())
        if judge is not None:
            found[f"{level} cosine"] = float(metrics.identity_cosine(judge(clean), judge(dressed)).mean())
    found["clean face, mean change"] = _WHITE * float(np.abs(dress(clean, untouched, options) - clean).mean())
    return found


def rows_of(found: Mapping[str, Figures]) -> list[list[str]]:
    """The table: a look a row, what it is made of and what it is worth."""
    figures = list(next(iter(found.values())))
    rows = []
    for label, one in found.items():
        look = looks_to_try()[label].look
        parts = (f"{part:g}" if part else "-" for part in (look.strength, look.sharpness, look.contrast))
        values = (f"{one[figure]:+.2f}" if figure.endswith("dB") else f"{one[figure]:.3f}" for figure in figures)
        rows.append([label, *parts, "yes" if look.grade else "-", *values])
    return [["look", "strength", "sharpness", "contrast", "grade", *figures], *rows]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("restorer", help="restorer file, or a name known to the kit")
    parser.add_argument("--crops", type=Path, required=True, metavar="DIR", help="folder of aligned crops")
    parser.add_argument("--every", type=positive, default=3, metavar="N", help="use every N-th face (default: 3)")
    parser.add_argument("--judge", default="none", metavar="PATH", help="identity network, by path or name")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure every look and print the table."""
    crops = every_nth(read_crops(arguments.crops, "validation"), arguments.every)
    pixels = read_alike(arguments.crops, crops)
    judge = choose_judge(arguments.judge)
    restorer = at_size(Candidate("it", arguments.restorer, arguments.device).open(), len(pixels[0]))
    clean, aged = to_faces(pixels), {}
    for level in _LEVELS:
        given = degrade_sample(pixels, level, arguments.every)
        aged[level] = (given, restore_all(restorer, given))
    untouched = restore_all(restorer, clean)
    found = {name: measure(clean, aged, untouched, judge, options) for name, options in looks_to_try().items()}
    rows = rows_of(found)
    if arguments.output is not None:
        write_table(arguments.output, "looks", rows, faces=len(clean))
    sys.stdout.write(f"{markdown(rows)}\n{len(clean)} faces\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.looks"))
