"""A model card: what a network is for, what it was trained on, how good it is and on whom, and where it fails.

    python -m pocketface.bench.card report/report.json front/front.json --crops crops --judge judge.ckpt \
        student-nano=nano student-base=base student-plus=plus -o docs/cards
Each word is NAME=PRESET: a shipped name or a path, and its label in the front. Figures come from the two files, from
the checkpoint's own header, and, by group of photographs, from faces that were not trained on; nothing is typed in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..distill.faces import Crop, read_crops
from ..runtime import metrics
from ..runtime.atomic import make_folder, replacing_file
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from ..runtime.images import to_faces
from ..runtime.models.checkpoint import load_model
from ..runtime.parity import Embed
from ..runtime.restorer import Faces, Restorer
from .candidates import Candidate, locate
from .faces_set import degrade_sample, read_alike
from .parity_command import choose_judge
from .readme import Rows, markdown, read_report
from .size import count_macs, count_parameters
from .trials import restore_all

LEVELS = ("medium", "severe")

_USE = """## Use

Restores one aligned face (256 or 512 pixels a side, five points on the FFHQ template) on a device without a GPU. It is
meant for repairing photographs and video. It is **not** meant for telling who somebody is, nor as evidence: what is
not in the picture is guessed.
"""
_DATA = """People are split by identity; nobody below was trained on. Terms of the photographs:
[LICENCES.md](../../runtime/weights/LICENCES.md).
"""
_GROUPS = """By group of photographs, which is all that their sources say of people. The old set (`congress_old_pd`)
shows almost only white men, the others are small: differences between them are as much about cameras as about people.
"""
_FAILURES = """## Known failures

- At severe degradation it smooths: hair, wrinkles and teeth become fields of one tone, and eyes tend to the colour of
  the training set's.
- It removes strong noise in dark and plain places better than in hair and cloth.
- Faces turned far aside, covered by hands or masks, children, and skin that is rare in the training set are restored
  less well, or were hardly measured.
- A grey face gets a trace of colour ([restraint.md](../restraint.md)).
"""


def by_group(
    restorer: Restorer, crops: Sequence[Crop], pixels: Sequence[NDArray[np.uint8]], judge: Embed | None
) -> Rows:
    """Gain and judge's cosine by group of photographs, with standard errors; face i gets seed i, as in the report.

    Args:
        restorer: takes the faces' size.
        crops: of people who were not trained on.
        pixels: their faces, (S, S, 3) uint8.
        judge: aligned faces -> embeddings, or None.
    """
    clean = to_faces(list(pixels))
    rows = [["group", "level", "faces", "gain dB", "cosine of the input", "cosine restored"]]
    groups = np.array([crop.group for crop in crops])
    for level in LEVELS:
        aged = degrade_sample(pixels, level, every=1)
        restored = restore_all(restorer, aged)
        gains = metrics.psnr(restored, clean) - metrics.psnr(aged, clean)
        cosines = None if judge is None else [_cosines(judge, clean, faces) for faces in (aged, restored)]
        for group in sorted(set(groups.tolist())):
            here = groups == group
            means = ["-", "-"] if cosines is None else [f"{values[here].mean():.3f}" for values in cosines]
            rows.append([group, level, str(int(here.sum())), _mean(gains[here]), *means])
    return rows


def _cosines(judge: Embed, clean: Faces, faces: Faces) -> NDArray[np.floating]:
    return metrics.identity_cosine(judge(clean), judge(faces))


def _mean(values: NDArray[np.floating]) -> str:
    error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{values.mean():+.2f}{error}"


def card_of(name: str, preset: str, groups: Rows, report: Mapping[str, Any], front: Rows) -> str:
    """The card's text.

    Raises:
        InputError: a report or front without figures of this network.
        CheckpointError: a damaged checkpoint.
    """
    model, info = load_model(locate(name), "student")
    head, *rows = front
    own = [head, *(row for row in rows if row[0] == preset)]
    if len(own) < 2:
        raise InputError(f"the preset {preset} in the front", ", ".join(dict.fromkeys(row[0] for row in rows)))
    training = info.training
    data = [["photographs", "faces", "people", "licence"]]
    data += [
        [group, str(facts["faces"]), str(facts["people"]), "; ".join(facts["licence"])]
        for group, facts in training.get("data", {}).items()
    ]
    judged = report["quality"]["scores"][0]["faces"]
    return "\n".join([
        f"# {name}\n",
        f"{count_parameters(model):,} parameters, {count_macs(model, 256) / 1e9:.2f} GMAC at 256. "
        f"Licence of the weights: {training.get('licence', 'Apache-2.0')}. Checkpoint sha256 `{info.sha256}`.\n",
        _USE,
        "## Training\n",
        _history(training),
        markdown(data),
        _DATA,
        "## Figures\n",
        f"TFLite files on every third validation face; the report of record has all {judged} (README).\n",
        markdown(own),
        "## On whom\n",
        _GROUPS,
        markdown(groups),
        _FAILURES,
    ])  # fmt: skip


def _history(training: Mapping[str, Any]) -> str:
    """The runs that led here, the last one first."""
    lines: list[str] = []
    run: Mapping[str, Any] | None = training
    while run is not None:
        stages = run.get("recipe", {}).get("stages", [])
        terms = ", ".join(sorted({term for stage in stages for term in stage["losses"]}))
        batch = stages[0]["batch"] if stages else "?"
        teacher = run.get("recipe", {}).get("teacher")
        led = f"led by {teacher}" if teacher else "without a teacher"
        lines.append(f"- {run.get('steps', '?')} steps of {batch} faces, {led}; terms: {terms}")
        run = run.get("began_with")
    return "\n".join(["The runs that led here, the last one first:\n", *lines, ""])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("report", type=Path, help="report.json of `pocketface bench`")
    parser.add_argument("front", type=Path, help="front.json of `pocketface.bench.front`")
    parser.add_argument("networks", nargs="+", metavar="NAME=PRESET", help="a checkpoint, and its label in the front")
    parser.add_argument("--crops", type=Path, required=True, metavar="FOLDER", help="aligned crops with their table")
    parser.add_argument("--judge", default="none", metavar="PATH", help="identity network, by path or name")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FOLDER", help="for the cards")


def run(arguments: argparse.Namespace) -> int:
    """Measure by group, and write one card a network."""
    report, front = read_report(arguments.report), read_report(arguments.front)["front"]
    crops = read_crops(arguments.crops, "validation")
    pixels = read_alike(arguments.crops, crops)
    judge = choose_judge(arguments.judge)
    make_folder(arguments.output)
    for word in arguments.networks:
        name, _, preset = word.partition("=")
        groups = by_group(Candidate(name, name, device="cpu").open(), crops, pixels, judge)
        path = arguments.output / f"{Path(name).stem}.md"
        with replacing_file(path) as temporary:
            temporary.write_text(card_of(name, preset, groups, report, front), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.card"))
