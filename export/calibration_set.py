"""Where a bundle's activation ranges come from: a file beside the checkpoint, or a folder of aligned crops.

`python -m pocketface.export.calibration_set student.safetensors --calibration CROPS` measures them once and writes the
file beside the checkpoint, so that later exports need no photographs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import fx

from ..runtime.cli import run_module
from ..runtime.errors import ExportError
from ..runtime.faces.degrade import degrade_face
from ..runtime.images import read_photo, to_faces, to_uint8
from ..runtime.models.checkpoint import load_model
from ..runtime.restorer import Faces
from .calibration import ActivationRanges, degrade_for_calibration, observe_ranges
from .deploy_graph import build_deploy_graph
from .gate_faces import image_files, spread_out

SUFFIX = ".ranges.json"
# More change the quantiles in the third digit only and cost a minute a hundred.
_ENOUGH = 96


def ranges_for(graph: fx.GraphModule, checkpoint: Path, crops: Path | None) -> ActivationRanges:
    """Find or measure the ranges of a network.

    Args:
        graph: its deploy graph.
        checkpoint: the file it comes from; measured ranges lie beside it, `NAME.ranges.json` for `NAME.safetensors`.
        crops: a folder of sharp aligned faces of one size to measure on; None takes the file.

    Raises:
        ExportError: no such file, or ranges of other weights.
        InputError: the folder holds no images.
        ImageError: one of them cannot be read.
    """
    if crops is not None:
        return _measure(graph, crops)
    path = checkpoint.with_name(checkpoint.stem + SUFFIX)
    if not path.is_file():
        raise ExportError(
            f"measured activation ranges for int8 at {path}",
            "no such file",
            "give --calibration FOLDER of sharp aligned faces, or leave int8 out: --precisions fp32 fp16",
        )
    ranges = ActivationRanges.load(path)
    ranges.check(graph)
    return ranges


def severe_faces(folder: Path, count: int) -> Faces:
    """Faces of a folder, evenly spread over it, degraded severely: where rounding shows first.

    Raises:
        InputError: the folder holds no images.
        ImageError: one of them cannot be read.
        ExportError: crops of several sizes.
    """
    _, crops = _chosen(folder, count)
    degraded = [degrade_face(crop, "severe", seed) for seed, crop in enumerate(crops)]
    if len({face.shape for face in degraded}) != 1:
        raise ExportError("aligned faces of one size", "several", "align them to one size")
    return to_faces(degraded)


def _measure(graph: fx.GraphModule, folder: Path) -> ActivationRanges:
    files, crops = _chosen(folder, _ENOUGH)
    faces = degrade_for_calibration(crops)
    provenance = f"{len(crops)} of {files} aligned faces of {folder.name}, degraded mild, medium and severe in turn"
    return observe_ranges(graph, faces, provenance)


def _chosen(folder: Path, count: int) -> tuple[int, list[NDArray[np.uint8]]]:
    """How many images a folder holds, and some of them, so spread that no one person's series decides."""
    files = image_files(folder)
    return len(files), [to_uint8(read_photo(path).rgb) for path in spread_out(files, count)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("checkpoint", type=Path, help="a student's .safetensors file")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of sharp aligned faces")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write the ranges beside the checkpoint."""
    student, _ = load_model(arguments.checkpoint, "student")
    ranges = ranges_for(build_deploy_graph(student), arguments.checkpoint, arguments.calibration)
    path = arguments.checkpoint.with_name(arguments.checkpoint.stem + SUFFIX)
    ranges.save(path)
    sys.stdout.write(f"{path}: {len(ranges.values)} tensors, {ranges.provenance}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.export.calibration_set"))
