"""Measure an identity network: `python -m pocketface.distill.identity_validation --crops CROPS [--network FILE]`.

The gallery holds one clean face of every person; the probes are the other faces of those who have more than one, as
they are or degraded. Cosines between a probe and its own person are genuine, all others are impostors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.cli import run_module
from ..runtime.errors import InputError
from ..runtime.faces.degrade import LEVELS, degrade_face
from ..runtime.images import to_faces
from ..runtime.models.judges import Judge, open_judge
from .faces import load_crops, read_crops

Faces = NDArray[np.uint8]
_BATCH = 32


@dataclass(frozen=True)
class Verification:
    """How well genuine pairs stand apart from impostors.

    Args:
        probes, gallery: faces on either side.
        rank1: share of probes whose nearest gallery face is their own person.
        auc: probability that a genuine cosine exceeds an impostor's, ties counting half.
        tar: share of genuine pairs accepted at the threshold that accepts at most `far` of the impostors.
        far: that share of impostors.
        threshold: the cosine above which pairs are accepted there.
        genuine_median, genuine_least, impostor_median, impostor_most: cosines.
    """

    probes: int
    gallery: int
    rank1: float
    auc: float
    tar: float
    far: float
    threshold: float
    genuine_median: float
    genuine_least: float
    impostor_median: float
    impostor_most: float


def verify_identities(cosines: NDArray[np.floating], own: NDArray[np.integer], far: float = 1e-3) -> Verification:
    """Score a table of cosines.

    Args:
        cosines: (probes, gallery).
        own: (probes,), the gallery index of each probe's person.
        far: accepted share of impostors.

    Raises:
        InputError: no probe, or a gallery without a second person.
    """
    probes, gallery = cosines.shape
    if probes < 1 or gallery < 2:
        raise InputError("at least one probe and two people", f"{probes} probes and {gallery} people")
    mine = np.zeros(cosines.shape, bool)
    mine[np.arange(probes), own] = True
    genuine, impostors = cosines[mine], np.sort(cosines[~mine])
    below = np.searchsorted(impostors, genuine, "left") + np.searchsorted(impostors, genuine, "right")
    threshold = impostors[len(impostors) - 1 - int(far * len(impostors))]
    return Verification(
        probes, gallery, float((cosines.argmax(1) == own).mean()), float(below.mean() / 2 / len(impostors)),
        float((genuine > threshold).mean()), far, float(threshold), float(np.median(genuine)), float(genuine.min()),
        float(np.median(impostors)), float(impostors[-1]),
    )  # fmt: skip


def pair_probes(people: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """Choose the first face of each person for the gallery and all others as probes.

    Returns:
        Indices of the gallery, indices of the probes, and for each probe its place in the gallery.
    """
    place: dict[str, int] = {}
    gallery, probes, own = [], [], []
    for index, person in enumerate(people):
        if person in place:
            probes.append(index)
            own.append(place[person])
        else:
            place[person] = len(gallery)
            gallery.append(index)
    return gallery, probes, own


def embed_images(judge: Judge, images: Faces, change: Callable[[int], Faces] | None = None) -> NDArray[np.float32]:
    """Embed images (N, S, S, 3) uint8, each replaced by `change(index)` where given: (N, D)."""
    found = []
    for start in range(0, len(images), _BATCH):
        chosen = range(start, min(start + _BATCH, len(images)))
        found.append(judge(to_faces([images[index] if change is None else change(index) for index in chosen])))
    return np.concatenate(found)


def validate_identity(
    judge: Judge, images: Faces, people: Sequence[str], levels: Sequence[str]
) -> dict[str, Verification]:
    """Verify clean probes and each level of degradation against a clean gallery.

    Args:
        judge: what embeds.
        images: (N, S, S, 3) uint8, aligned with the FFHQ template.
        people: N names.
        levels: of the grid.
    """
    gallery, probes, own = pair_probes(people)
    if not probes:
        raise InputError("a person with two faces", "one face of each")
    known, wanted = embed_images(judge, images[gallery]), images[probes]
    table = {"clean": verify_identities(embed_images(judge, wanted) @ known.T, np.array(own))}
    for level in levels:
        embeddings = embed_images(judge, wanted, lambda index, level=level: degrade_face(wanted[index], level, index))
        table[level] = verify_identities(embeddings @ known.T, np.array(own))
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--crops", type=Path, required=True, help="folder made by pocketface.distill.faces")
    parser.add_argument("--network", default="identity", help="checkpoint, 'identity' (shipped, default), 'dlib', or a public file")
    parser.add_argument("--split", choices=["train", "validation", "all"], default="validation")
    parser.add_argument("--group", help="only this group of the table")
    parser.add_argument("--levels", nargs="*", choices=list(LEVELS), default=["mild", "medium", "severe"])


def run(arguments: argparse.Namespace) -> int:
    """Print one JSON line for clean probes and for each level."""
    crops = [
        crop
        for crop in read_crops(arguments.crops, None if arguments.split == "all" else arguments.split)
        if arguments.group in (None, crop.group)
    ]
    judge = open_judge(arguments.network)
    table = validate_identity(
        judge, load_crops(arguments.crops, crops), [crop.identity for crop in crops], arguments.levels
    )
    for level, figures in table.items():
        rounded = {name: round(value, 4) for name, value in asdict(figures).items()}
        sys.stdout.write(json.dumps({"probes are": level, **rounded}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.distill.identity_validation"))
