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
        keep_float: names of nodes that 8-bit files compute in float; None takes each writer's own choice.
        sizes: every S that a flexible file takes, `size` first.
    """

    graph: fx.GraphModule
    size: int
    precision: str
    path: Path
    ranges: ActivationRanges | None
    facts: Mapping[str, str]
    keep_float: tuple[str, ...] | None = None
    sizes: tuple[int, ...] = ()


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
        usual: the precisions that are written where nobody chose.
        mark: what its files' names end with, to tell them from those of the plain format.
        flexible: whether one file takes every size.
    """

    name: str
    suffix: str
    precisions: tuple[str, ...]
    calibrated: tuple[str, ...]
    write: Callable[[Job], None]
    read: Callable[[Path], Contents]
    usual: tuple[str, ...] = ()
    mark: str = ""
    flexible: bool = False


# Each format's library is imported when that format is asked for, and only then.
def _write_onnx(job: Job) -> None:
    from .to_onnx import write_onnx

    size = None if job.sizes else job.size
    write_onnx(job.graph, size, job.precision, job.path, ranges=job.ranges, facts=job.facts, keep_float=job.keep_float)


def _read_onnx(path: Path) -> Contents:
    from .from_onnx import read_onnx

    return read_onnx(path)


def _write_tflite(job: Job) -> None:
    from .to_tflite import write_tflite

    write_tflite(
        job.graph, job.size, job.precision, job.path, ranges=job.ranges, facts=job.facts, keep_float=job.keep_float
    )


def _write_tflite_uint8(job: Job) -> None:
    from .to_tflite import write_tflite

    write_tflite(
        job.graph, job.size, job.precision, job.path, job.ranges, "uint8", job.facts, keep_float=job.keep_float
    )


def _write_tflite_integer(job: Job) -> None:
    from .to_tflite import write_tflite

    write_tflite(job.graph, job.size, job.precision, job.path, job.ranges, "uint8", job.facts, keep_float=())


def _read_tflite(path: Path) -> Contents:
    from .from_tflite import read_tflite

    return read_tflite(path)


def _write_coreml(job: Job) -> None:
    from .to_coreml import write_coreml

    write_coreml(job.graph, job.sizes or job.size, job.precision, job.path, facts=job.facts)


def _write_coreml_image(job: Job) -> None:
    from .to_coreml import write_coreml

    write_coreml(job.graph, job.size, job.precision, job.path, images=True, facts=job.facts)


def _read_coreml(path: Path) -> Contents:
    from .from_coreml import read_coreml

    return read_coreml(path)


_ALL, _8BIT = ("fp32", "fp16", "int8"), ("int8",)
TARGETS = {
    target.name: target
    for target in (
        Target("onnx", ".onnx", _ALL, _8BIT, _write_onnx, _read_onnx, _ALL),
        Target("tflite", ".tflite", (*_ALL, "dynamic8"), _8BIT, _write_tflite, _read_tflite, _ALL),
        Target("coreml", ".mlpackage", (*_ALL, "palette8"), (), _write_coreml, _read_coreml, _ALL),
        Target("tflite-uint8", ".tflite", ("fp16", "int8"), _8BIT, _write_tflite_uint8, _read_tflite, _8BIT, "_uint8"),
        Target(
            "coreml-image", ".mlpackage", ("fp16", "int8"), (), _write_coreml_image, _read_coreml, ("fp16",), "_image"
        ),
        Target("tflite-integer", ".tflite", _8BIT, _8BIT, _write_tflite_integer, _read_tflite, mark="_integer"),
        Target("onnx-flexible", ".onnx", ("fp32", "int8"), _8BIT, _write_onnx, _read_onnx, flexible=True),
        Target("coreml-flexible", ".mlpackage", ("fp16", "int8"), (), _write_coreml, _read_coreml, flexible=True),
    )
}
