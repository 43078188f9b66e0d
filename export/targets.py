"""The formats that a student can be written in; a new format is one entry here and one module a direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .stored_weights import Contents

if TYPE_CHECKING:
    from torch import fx

    from .calibration import ActivationRanges


@dataclass(frozen=True)
class Job:
    """One file to write.

    Args:
        graph: from `build_deploy_graph`.
        size: S.
        precision: one of the target's.
        path: the destination.
        ranges: measured on this graph; None where the target needs none for that precision.
        facts: for the file's metadata: `name`, `licence`, `author`, `description`, `version`, `multiple`, ...
    """

    graph: fx.GraphModule
    size: int
    precision: str
    path: Path
    ranges: ActivationRanges | None
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """A format.

    Args:
        name: for the command line and the manifest.
        suffix: of its files; `open_restorer` goes by it.
        precisions: what it can be written in.
        calibrated: those of them that need measured ranges.
        write: writes a file.
        read: decodes a file, with no network at hand.
    """

    name: str
    suffix: str
    precisions: tuple[str, ...]
    calibrated: tuple[str, ...]
    write: Callable[[Job], None]
    read: Callable[[Path], Contents]


# Each format's library is imported when that format is asked for, and only then.
def _write_onnx(job: Job) -> None:
    from .to_onnx import write_onnx

    write_onnx(job.graph, job.size, job.precision, job.path, ranges=job.ranges, facts=job.facts)


def _read_onnx(path: Path) -> Contents:
    from .from_onnx import read_onnx

    return read_onnx(path)


def _write_tflite(job: Job) -> None:
    from .to_tflite import write_tflite

    write_tflite(job.graph, job.size, job.precision, job.path, ranges=job.ranges, facts=job.facts)


def _read_tflite(path: Path) -> Contents:
    from .from_tflite import read_tflite

    return read_tflite(path)


def _write_coreml(job: Job) -> None:
    from .to_coreml import write_coreml

    write_coreml(job.graph, job.size, job.precision, job.path, facts=job.facts)


def _read_coreml(path: Path) -> Contents:
    from .from_coreml import read_coreml

    return read_coreml(path)


_ALL = ("fp32", "fp16", "int8")
TARGETS = {
    target.name: target
    for target in (
        Target("onnx", ".onnx", _ALL, ("int8",), _write_onnx, _read_onnx),
        Target("tflite", ".tflite", _ALL, ("int8",), _write_tflite, _read_tflite),
        Target("coreml", ".mlpackage", _ALL, (), _write_coreml, _read_coreml),
    )
}
