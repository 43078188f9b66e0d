"""The standard verification figures of identity networks: LFW, CFP-FP, AgeDB-30, or a list of pairs of one's own.

    python -m pocketface.bench.identity_pairs lfw=lfw cfp=cfp-dataset --network identity dlib
    python -m pocketface.bench.identity_pairs bin=agedb_30.bin --network backbone.pth --mirrored --output pairs.json
Sets are KIND=PATH: `lfw` is the folder of photographs with `pairs.txt` in it or beside it, `cfp` the folder with
Protocol and Data, `bin` a file of insightface's (lfw.bin, cfp_fp.bin, agedb_30.bin), `photos` and `crops` a text list
of lines `FILE FILE 1` or `FILE FILE 0`: photographs, or 112 x 112 crops of the ArcFace template. Photographs are
aligned by the detector; pairs in which it finds no face are counted and left out. None of the sets is shipped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from ..export.progress import shown
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from ..runtime.faces.detect import open_detector
from .identity import add_network_arguments, open_networks
from .identity_report import check_output, hash_network, name_networks, write_figures
from .pair_accuracy import PairFigures, batches_of, embed_pictures, score_pairs
from .pair_sets import PairSet, read_bin_set, read_cfp, read_lfw, read_list
from .readme import markdown

KINDS: dict[str, Callable[[Path], PairSet]] = {
    "lfw": read_lfw,
    "cfp": read_cfp,
    "bin": read_bin_set,
    "photos": partial(read_list, aligned=False),
    "crops": partial(read_list, aligned=True),
}
_HEAD = ("network", "set", "pairs", "left out", "accuracy %", "AUC", "TAR at FAR 1e-3", "threshold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("sets", nargs="+", metavar="KIND=PATH", help=f"KIND is one of {', '.join(KINDS)}")
    add_network_arguments(parser)
    parser.add_argument("--mirrored", action="store_true", help="add mirror images' embeddings, as insightface does")
    parser.add_argument("--detector", default="mtcnn", help="for photographs: mtcnn (shipped, default), .onnx, .pth")


def open_set(word: str) -> PairSet:
    """Read a set as a user names it.

    Raises:
        InputError: an unknown kind, or what its reader refuses.
    """
    kind, _, path = word.partition("=")
    if kind not in KINDS or not path:
        raise InputError(f"KIND=PATH with a kind of {', '.join(KINDS)}", f"'{word}'", "for example lfw=FOLDER")
    return KINDS[kind](Path(path))


def run(arguments: argparse.Namespace) -> int:
    """Print the table; write the figures where asked for."""
    check_output(arguments.output)
    sets = [open_set(word) for word in arguments.sets]
    networks = open_networks(arguments)
    detector = open_detector(arguments.detector)
    rows: list[tuple[str, str, PairFigures]] = []
    with shown(sum(batches_of(one) for one in sets)) as step:
        for one in sets:
            embeddings, there = embed_pictures(one, networks, detector, mirrored=arguments.mirrored, step=step)
            rows += [(label, one.name, score_pairs(one, embeddings[label], there)) for label in networks]
    if arguments.output is not None:
        values = [{"network": label, "set": name, **_to_json(figures)} for label, name, figures in rows]
        write_figures(arguments.output, _facts(arguments), values)
    sys.stdout.write(markdown([_HEAD, *(_cells(*row) for row in rows)]))
    return 0


def _facts(arguments: argparse.Namespace) -> dict[str, object]:
    words = [*arguments.sets, "--network", *arguments.network, "--detector", arguments.detector]
    words += ["--mirrored"] if arguments.mirrored else []
    return {
        "command": shlex.join(["python", "-m", "pocketface.bench.identity_pairs", *words]),
        "sha256": {label: hash_network(name) for label, name in name_networks(arguments.network).items()},
    }


def _to_json(figures: PairFigures) -> dict[str, object]:
    return {**asdict(figures), "angles": figures.angles.to_json()}


def _cells(label: str, name: str, figures: PairFigures) -> tuple[str, ...]:
    return (
        label, name, str(figures.pairs), str(figures.left_out),
        f"{100 * figures.accuracy:.2f} ± {100 * figures.accuracy_spread:.2f}", f"{figures.auc:.4f}",
        f"{figures.tar:.4f}", f"{figures.threshold:.3f}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.identity_pairs"))
