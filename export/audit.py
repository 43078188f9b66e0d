"""Say what half precision and 8 bits cost a student, layer by layer, and which layers to keep float.

    python -m pocketface.export.audit student-base --faces CROPS -o audit

Runs real degraded faces (sharp aligned crops of a folder, degraded severely; without one, the golden faces) through
the network with one layer rounded at a time. Writes `audit.md`, `audit.json` and `audit.svg`: the range of every layer
against half precision's 65504, the SNR of the residual that is left where its weights or its activations alone have
8 bits, and a mixed-precision proposal: the fewest worst layers that, kept float, regain what was asked for.
`pocketface export --keep-float audit.json` writes 8-bit files so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..runtime.atomic import replacing_folder
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError
from ..runtime.models.checkpoint import load_model
from ..runtime.restorer import Faces
from ..runtime.weights import find_checkpoint
from .audit_chart import draw_chart
from .calibration_set import ranges_for, severe_faces
from .deploy_graph import build_deploy_graph, float_ends_of, tail_of
from .golden import golden_faces
from .sensitivity import Fidelity, LayerAudit, Simulation

FORMAT = "pocketface-audit-1"
# Rounding the result itself to 8 bits caps the SNR of the residual near 22 dB; a copy should not lie far below that.
WANTED_SNR_DB = 22.0
_FEW = 8
_SIZE = 256


@dataclass(frozen=True)
class Proposal:
    """Layers to keep float.

    Args:
        keep_float: names, the worst first, behind the ends that are kept anyway.
        fidelity: of the 8-bit network that keeps them.
    """

    keep_float: tuple[str, ...]
    fidelity: Fidelity


@dataclass(frozen=True)
class Audit:
    """What was measured.

    Args:
        name: of the network.
        faces: how many, and where they come from, in words.
        layers: in the network's order.
        all_int8, float_tail, float_ends: the whole network in 8 bits; with the last addition and clamp float; with the
            first block float too, as the shipped files are.
        proposal: what it takes to reach the SNR asked for.
    """

    name: str
    faces: str
    layers: tuple[LayerAudit, ...]
    all_int8: Fidelity
    float_tail: Fidelity
    float_ends: Fidelity
    proposal: Proposal


def audit_network(simulation: Simulation, name: str, faces: str, wanted_snr_db: float = WANTED_SNR_DB) -> Audit:
    """Measure every layer, and choose which to keep float.

    Args:
        simulation: the network, its ranges and real faces.
        name: of the network.
        faces: in words.
        wanted_snr_db: the residual's SNR on the worst face to reach.
    """
    layers = tuple(simulation.audit())
    tail, ends = tail_of(simulation.graph), float_ends_of(simulation.graph)
    return Audit(
        name, faces, layers, simulation.run_int8(()), simulation.run_int8(tail), simulation.run_int8(ends),
        propose(simulation, layers, wanted_snr_db),
    )  # fmt: skip


def propose(simulation: Simulation, layers: Sequence[LayerAudit], wanted_snr_db: float) -> Proposal:
    """Keep the worst layer float, then the next, until the SNR is reached; the tail is kept from the start.

    Args:
        simulation: the network.
        layers: as audited.
        wanted_snr_db: on the worst face.
    """
    worst = [layer.node for layer in sorted(layers, key=lambda layer: layer.both.mean_snr_db)]
    kept = tail_of(simulation.graph)
    fidelity = simulation.run_int8(kept)
    for node in worst:
        if fidelity.min_snr_db >= wanted_snr_db:
            break
        kept = (*kept, node)
        fidelity = simulation.run_int8(kept)
    return Proposal(kept, fidelity)


def read_proposal(path: Path) -> tuple[str, ...]:
    """The layers that an `audit.json` proposes to keep float.

    Raises:
        InputError: not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")  # noqa: TRY301 - one message for all that is wrong
        return tuple(str(name) for name in content["proposal"]["keep_float"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("an audit.json of `python -m pocketface.export.audit`", f"{path}: {error}") from error


def to_markdown(audit: Audit) -> str:
    """The audit as a page: summary, then every layer, the most sensitive first."""
    kept = ", ".join(audit.proposal.keep_float)
    lines = [
        f"# Audit of {audit.name}", "", f"On {audit.faces}. SNR is that of the residual, in dB, mean / worst face.", "",
        "| whole network in 8 bits | PSNR worst, dB | SNR |", "|---|---|---|",
        _whole("everything", audit.all_int8), _whole("last addition and clamp float", audit.float_tail),
        _whole("first block float too (as shipped)", audit.float_ends),
        _whole("as proposed below", audit.proposal.fidelity),
        "", f"Proposal, to be kept float: {kept}.", "",
        "| node | module | kind | lowest | highest | 65504 / it | 65504 / sums | SNR, weights | activations | both |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    ordered = sorted(audit.layers, key=lambda layer: layer.both.mean_snr_db)
    return "\n".join([*lines, *(_row(layer) for layer in ordered)]) + "\n"


def _whole(what: str, fidelity: Fidelity) -> str:
    return f"| {what} | {fidelity.min_psnr_db:.1f} | {_snr(fidelity)} |"


def _row(layer: LayerAudit) -> str:
    sums = "" if layer.sum_headroom is None else f"{layer.sum_headroom:.0f}"
    cells = (
        layer.node, layer.module or "top level", layer.kind, f"{layer.low:.2f}", f"{layer.high:.2f}",
        f"{layer.half_headroom:.0f}", sums, *map(_snr, (layer.weights, layer.activations, layer.both)),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _snr(fidelity: Fidelity | None) -> str:
    return "" if fidelity is None else f"{fidelity.mean_snr_db:.1f} / {fidelity.min_snr_db:.1f}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("checkpoint", help="a student, by name or path")
    parser.add_argument("--faces", type=Path, help="folder of sharp aligned faces (default: the golden faces)")
    parser.add_argument("--count", type=positive, default=_FEW, help="how many of them (default: %(default)s)")
    parser.add_argument(
        "--calibration", type=Path, help="measure ranges on these (default: those beside the checkpoint)"
    )
    parser.add_argument(
        "--snr", type=float, default=WANTED_SNR_DB, help="what the proposal reaches (default: %(default)s)"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder, made or replaced")


def run(arguments: argparse.Namespace) -> int:
    """Audit, write three files, and print the summary."""
    checkpoint = find_checkpoint(arguments.checkpoint)
    model, _ = load_model(checkpoint, "student")
    graph = build_deploy_graph(model)
    ranges = ranges_for(graph, checkpoint, arguments.calibration)
    faces, words = _faces(arguments.faces, arguments.count)
    audit = audit_network(Simulation(graph, faces, ranges), checkpoint.stem, words, arguments.snr)
    page = to_markdown(audit)
    with replacing_folder(arguments.output) as folder:
        (folder / "audit.md").write_text(page, encoding="utf-8")
        (folder / "audit.json").write_text(json.dumps({"format": FORMAT, **asdict(audit)}, indent=1) + "\n")
        (folder / "audit.svg").write_text(draw_chart(audit.layers, audit.name), encoding="utf-8")
    sys.stdout.write(page.split("| node |", 1)[0] + f"{arguments.output}\n")
    return 0


def _faces(folder: Path | None, count: int) -> tuple[Faces, str]:
    if folder is None:
        return golden_faces(_SIZE)[0], "the golden faces"
    return severe_faces(folder, count), f"{count} faces of {folder.name}, degraded severely"


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.export.audit"))
