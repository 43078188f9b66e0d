"""Write a student as Core ML, TFLite and ONNX files: one bundle with a manifest, golden vectors and a README.

Every file is run on real degraded faces and compared with the PyTorch student before the bundle takes its name; a file
that strays beyond its tolerance stops the export and leaves an earlier bundle untouched. `pocketface verify` proves the
bundle again, anywhere.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..runtime.cli import positive
from ..runtime.manifest import Manifest
from ..runtime.parity import TOLERANCES
from ..runtime.weights import find_checkpoint
from .audit import read_proposal
from .bundle import Plan, build_bundle
from .progress import shown
from .targets import TARGETS

_DEFAULT = "student-base"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface export`."""
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder of the bundle, made or replaced")
    parser.add_argument("--checkpoint", default=_DEFAULT, help="a student, by name or path (default: %(default)s)")
    parser.add_argument(
        "--sizes", nargs="+", type=positive, default=[256], help="pixels a side of the faces (default: 256)"
    )
    parser.add_argument("--targets", nargs="+", choices=tuple(TARGETS), default=list(TARGETS), help="default: any")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--precisions", nargs="+", choices=tuple(TOLERANCES), help="default: the usual ones of each target"
    )
    choice.add_argument("--all", action="store_true", help="every precision that each target can be written in")
    parser.add_argument(
        "--keep-float",
        type=Path,
        metavar="AUDIT",
        help="an audit.json whose proposal 8-bit files compute in float (default: both ends of the network)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        help="sharp aligned faces for int8 (default: ranges beside the checkpoint)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and print one line a file."""
    precisions = tuple(TOLERANCES) if arguments.all else arguments.precisions
    plan = Plan(
        find_checkpoint(arguments.checkpoint),
        tuple(arguments.targets),
        None if precisions is None else tuple(precisions),
        tuple(arguments.sizes),
        arguments.calibration,
        None if arguments.keep_float is None else read_proposal(arguments.keep_float),
    )
    with shown(len(plan.files())) as step:
        manifest = build_bundle(plan, arguments.output, step)
    sys.stdout.write(_table(manifest) + f"{arguments.output}\n")
    return 0


def _table(manifest: Manifest) -> str:
    width = max(len(artefact.file.path) for artefact in manifest.artefacts)
    lines = [f"{'file':<{width}} {'bytes':>12}  PSNR against PyTorch, worst face, dB"]
    for artefact in manifest.artefacts:
        file, parity = artefact.file, artefact.parity
        lines.append(f"{file.path:<{width}} {file.bytes:>12,}  {parity.min_psnr_db:.1f} ({parity.engine})")
    return "\n".join(lines) + "\n"
