"""Prove that a bundle's files are whole, hold the student's weights and restore as the student does.

Nothing is taken on trust: hashes are computed again, every file is run on the bundle's golden faces by its own engine
(Core ML packages off a Mac by an evaluator), and its decoded weights are compared tensor by tensor, because one wrong
weight hides from any comparison of pictures. Needs neither photographs nor PyTorch (but compares with the checkpoint,
not only with the manifest, where PyTorch is installed).

Exit code: 0 proven, 1 not proven, 2 nothing that could be judged.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from ..runtime.atomic import replacing_file
from ..runtime.cli import positive
from ..runtime.faces.detect import open_detector
from ..runtime.faces.identity import IdentityNetwork
from ..runtime.manifest import read_manifest
from ..runtime.weights import find_checkpoint
from .gate_faces import gate_faces
from .progress import shown
from .targets import TARGETS
from .verify import FileVerdict, Gate, Verdict, count_steps, verify_bundle

_COUNT = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface verify`."""
    parser.add_argument("bundle", type=Path, help="folder written by `pocketface export`")
    parser.add_argument("--checkpoint", help="the student it was made from, by name or path (default: the shipped one)")
    parser.add_argument("--targets", nargs="+", choices=tuple(TARGETS), help="prove only these (default: all)")
    parser.add_argument("--faces", type=Path, help="folder of sharp aligned faces: run files on these too, degraded")
    parser.add_argument("--count", type=positive, default=_COUNT, help="how many of them (default: %(default)s)")
    parser.add_argument("--identity", action="store_true", help="measure identity drift with the shipped network")
    parser.add_argument("--json", type=Path, help="write the verdict here too")


def run(arguments: argparse.Namespace) -> int:
    """Verify, print one line a file, and return the exit code."""
    checkpoint = None if arguments.checkpoint is None else find_checkpoint(arguments.checkpoint)
    gate = _gate(arguments)
    with shown(count_steps(arguments.bundle)) as step:
        verdict = verify_bundle(
            arguments.bundle, checkpoint=checkpoint, targets=arguments.targets, gate=gate, step=step
        )
    sys.stdout.write(_table(verdict))
    if arguments.json is not None:
        content = {"passed": verdict.passed, **dataclasses.asdict(verdict)}
        with replacing_file(arguments.json) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0 if verdict.passed else 1


def _gate(arguments: argparse.Namespace) -> Gate:
    """The faces and the identity network that were asked for."""
    embed = IdentityNetwork() if arguments.identity else None
    if arguments.faces is None:
        return Gate(embed=embed)
    size = min(entry.size for entry in read_manifest(arguments.bundle).golden)
    faces, names = gate_faces(arguments.faces, size, arguments.count, open_detector())
    return Gate(faces, names, embed)


def _table(verdict: Verdict) -> str:
    width = max(len(file.path) for file in verdict.files)
    lines = [f"{'file':<{width}} {'bytes':>12} {'engine':<14} {'dB':>6} {'worst face':<18} verdict"]
    lines += [_line(file, width) for file in verdict.files]
    conclusion = "proven" if verdict.passed else "NOT proven"
    lines.append(f"{verdict.name}: {conclusion}; weights compared with {verdict.compared_with}")
    return "\n".join(lines) + "\n"


def _line(file: FileVerdict, width: int) -> str:
    decibels = "" if file.min_psnr_db is None else f"{file.min_psnr_db:.1f}"
    words = "; ".join([*(file.problems or ["ok"]), *([file.lint] if file.lint else [])])
    return f"{file.path:<{width}} {file.bytes:>12,} {file.engine:<14} {decibels:>6} {file.worst_face:<18} {words}"
