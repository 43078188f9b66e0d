"""How well identity networks tell people apart on clean, degraded and restored faces.

    python -m pocketface.bench.identity --crops crops --group london_ccby
    python -m pocketface.bench.identity --crops crops --network identity dlib judge.ckpt backbone.pth recogniser.onnx \
        --restorer student-base teacher --output identity.json --chart identity.svg
The gallery holds one clean face of every person; the probes are the other faces of those who have more than one: as
they are, degraded at each level, and restored from that. Cosines between a probe and its own person are genuine, all
others are impostors. A restorer that was trained with a network as its loss or guide must not be judged by it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..distill.faces import Crop, load_crops, read_crops
from ..export.progress import shown
from ..runtime.backends import open_restorer
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from ..runtime.faces.degrade import LEVELS, degrade_face
from ..runtime.images import to_faces
from ..runtime.parity import Embed
from ..runtime.restorer import Faces, Restorer
from .angles import AngleHistogram, Panel, count_angles, draw_histograms
from .faces_set import Pixels
from .identity_report import check_output, hash_network, name_networks, write_figures, write_text
from .readme import markdown
from .resized import at_size
from .scoring import CLEAN
from .verification import Separation, pair_probes, split_pairs, verify_identities

if TYPE_CHECKING:
    from ..runtime.models.judges import IdentityJudge

_BATCH = 32
_FAR = 1e-3
_HEAD = ("network", "probes", "rank 1", "AUC", "TAR", "threshold", "genuine median / least", "impostor median / most")


@dataclass(frozen=True)
class IdentityRow:
    """One network on one set of probes.

    Args:
        network: its label.
        level: `clean` or a level of the grid.
        restorer: label of what restored the probes; None where nothing did.
        figures: how well pairs stand apart.
        angles: between genuine and impostor pairs.
    """

    network: str
    level: str
    restorer: str | None
    figures: Separation
    angles: AngleHistogram

    @property
    def probes(self) -> str:
        """The probes in words."""
        return self.level if self.restorer is None else f"{self.level}, restored by {self.restorer}"

    def to_json(self) -> dict[str, object]:
        """The row as JSON values."""
        facts = {"network": self.network, "level": self.level, "restorer": self.restorer}
        return {**facts, **asdict(self.figures), "angles": self.angles.to_json()}


def compare_networks(
    networks: Mapping[str, Embed],
    restorers: Mapping[str, Restorer],
    images: NDArray[np.uint8],
    people: Sequence[str],
    levels: Sequence[str],
    step: Callable[[str], None] = lambda _: None,
) -> list[IdentityRow]:
    """Verify clean, degraded and restored probes against a clean gallery, by every network.

    Args:
        networks: label -> aligned faces to unit-length embeddings.
        restorers: label -> what restores the degraded probes.
        images: (N, S, S, 3) uint8, aligned with the FFHQ template.
        people: N names.
        levels: of the grid.
        step: called before each set of probes, `sets_of` times in all, for a progress bar.

    Raises:
        InputError: nobody has two faces.
    """
    gallery, probes, own = pair_probes(people)
    if not probes:
        raise InputError("a person with two faces", "one face of each")
    known = {label: embed_images(network, images[gallery]) for label, network in networks.items()}
    rows: list[IdentityRow] = []
    for level, restorer, faces in _probe_sets(images[probes], restorers, levels, step):
        for label, network in networks.items():
            cosines = embed_faces(network, faces) @ known[label].T
            rows.append(_score(label, level, restorer, cosines, np.array(own)))
    return sorted(rows, key=lambda row: list(networks).index(row.network))


def sets_of(levels: int, restorers: int) -> int:
    """How many sets of probes `compare_networks` goes through."""
    return 1 + levels * (1 + restorers)


def embed_images(network: Embed, images: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Embed images (N, S, S, 3) uint8, a few at a time: (N, D)."""
    parts = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    return np.concatenate([network(to_faces(list(part))) for part in parts])


def embed_faces(network: Embed, faces: Sequence[Faces]) -> NDArray[np.floating]:
    """Embed batches of faces (n, 3, S, S): (N, D)."""
    return np.concatenate([network(batch) for batch in faces])


def _probe_sets(
    probes: NDArray[np.uint8], restorers: Mapping[str, Restorer], levels: Sequence[str], step: Callable[[str], None]
) -> Iterator[tuple[str, str | None, list[Faces]]]:
    """Level, restorer and batches of faces; probe i of a level is degraded with seed i."""
    starts = range(0, len(probes), _BATCH)
    step(CLEAN)
    yield CLEAN, None, [to_faces(list(probes[start : start + _BATCH])) for start in starts]
    for level in levels:
        step(level)
        degraded: list[Pixels] = [degrade_face(probe, level, index) for index, probe in enumerate(probes)]
        batches = [to_faces(degraded[start : start + _BATCH]) for start in starts]
        yield level, None, batches
        for label, restorer in restorers.items():
            step(f"{level}, {label}")
            yield level, label, [restorer(batch) for batch in batches]


def _score(
    network: str, level: str, restorer: str | None, cosines: NDArray[np.floating], own: NDArray[np.integer]
) -> IdentityRow:
    angles = count_angles(*split_pairs(cosines, own))
    return IdentityRow(network, level, restorer, verify_identities(cosines, own, _FAR), angles)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--crops", type=Path, required=True, help="folder made by pocketface.distill.faces")
    add_network_arguments(parser)
    parser.add_argument(
        "--restorer",
        nargs="+",
        default=[],
        metavar="NAME",
        help="restore the degraded probes by these, by path or name",
    )
    parser.add_argument("--split", choices=["train", "validation", "all"], default="validation")
    parser.add_argument("--group", help="only this group of the table")
    parser.add_argument("--levels", nargs="*", choices=list(LEVELS), default=["mild", "medium", "severe"])
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw the histograms of angles")


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which networks judge, where they run, and the file of figures; shared with the pair protocols."""
    parser.add_argument(
        "--network", nargs="+", default=["identity"], metavar="NAME",
        help="'identity' (shipped, default), 'dlib', or files: .safetensors, .ckpt, .pth, .onnx",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="where networks run: cpu (default), cuda, mps, auto")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE.json", help="write the figures as JSON")


def open_networks(arguments: argparse.Namespace) -> dict[str, IdentityJudge]:
    """Label -> open network, of what `add_network_arguments` declared."""
    from ..runtime.models.judges import open_judge  # torch takes seconds; --help should not

    names = name_networks(arguments.network)
    return {label: open_judge(name, arguments.device) for label, name in names.items()}


def run(arguments: argparse.Namespace) -> int:
    """Print the table; write the figures and draw the histograms where asked for."""
    for path in (arguments.output, arguments.chart):
        check_output(path)
    crops = _choose(arguments)
    images = load_crops(arguments.crops, crops)
    networks = open_networks(arguments)
    restorers = {
        label: at_size(open_restorer(name, device=arguments.device), images.shape[1])
        for label, name in name_networks(arguments.restorer).items()
    }
    with shown(sets_of(len(arguments.levels), len(restorers))) as step:
        people = [crop.identity for crop in crops]
        rows = compare_networks(networks, restorers, images, people, arguments.levels, step)
    if arguments.output is not None:
        write_figures(arguments.output, _facts(arguments, crops), [row.to_json() for row in rows])
    if arguments.chart is not None:
        panels = [Panel(row.probes, row.network, row.angles) for row in rows]
        write_text(arguments.chart, draw_histograms("Angles between embeddings", panels))
    sys.stdout.write(markdown([_HEAD, *map(_cells, rows)]))
    return 0


def _choose(arguments: argparse.Namespace) -> list[Crop]:
    split = None if arguments.split == "all" else arguments.split
    crops = [crop for crop in read_crops(arguments.crops, split) if arguments.group in (None, crop.group)]
    if not crops:
        raise InputError(f"crops of the group '{arguments.group}' in {arguments.crops}", "none")
    return crops


def _facts(arguments: argparse.Namespace, crops: Sequence[Crop]) -> dict[str, object]:
    words = ["--crops", str(arguments.crops), "--network", *arguments.network, "--split", arguments.split]
    words += ["--restorer", *arguments.restorer] if arguments.restorer else []
    words += ["--group", arguments.group] if arguments.group else []
    used = {**name_networks(arguments.network), **name_networks(arguments.restorer)}
    return {
        "command": shlex.join(["python", "-m", "pocketface.bench.identity", *words, "--levels", *arguments.levels]),
        "sha256": {label: hash_network(name) for label, name in used.items()},
        "faces": len(crops),
        "people": len({crop.identity for crop in crops}),
    }


def _cells(row: IdentityRow) -> tuple[str, ...]:
    figures = row.figures
    return (
        row.network, row.probes, f"{figures.rank1:.3f}", f"{figures.auc:.4f}", f"{figures.tar:.2f}",
        f"{figures.threshold:.3f}", f"{figures.genuine_median:.2f} / {figures.genuine_least:.2f}",
        f"{figures.impostor_median:.2f} / {figures.impostor_most:.2f}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.identity"))
