"""Core ML packages, read on any system: coremltools without its noise, and what a restorer's package must look like."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BackendError

# The operation that holds 8-bit weights with their scales.
COMPRESSED = "constexpr_affine_dequantize"


@dataclass(frozen=True)
class Package:
    """An `.mlpackage` whose one input and one output are (1, 3, S, S) float32.

    Args:
        model: coremltools' `MLModel`, not loaded into any engine.
        spec: its protobuf specification.
        given, restored: names of the input and the output.
        size: S.
        facts: the metadata its maker wrote.
    """

    model: Any
    spec: Any
    given: str
    restored: str
    size: int
    facts: dict[str, str]


def import_coremltools(module: str = "coremltools") -> Any:
    """Import coremltools or a module of it, without its remarks on torch's version and on engines that only a Mac has.

    Raises:
        BackendError: it is not installed.
    """
    try:
        with without_remarks():
            return importlib.import_module(module)
    except ImportError as error:
        raise BackendError("coremltools", str(error), "run: pip install coremltools") from error


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Let coremltools log nothing below an error."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_package(path: Path) -> Package:
    """Read a package's specification.

    Raises:
        BackendError: coremltools is not installed, or the package is damaged or not that of a restorer.
    """
    model = _open(path)
    spec = model.get_spec()
    given, restored = _only(spec.description.input, path), _only(spec.description.output, path)
    shape = tuple(given.type.multiArrayType.shape)
    if len(shape) != 4 or shape[:2] != (1, 3) or shape[2] != shape[3]:
        raise BackendError("an input of shape (1, 3, S, S)", f"{shape} in {path}")
    facts = dict(spec.description.metadata.userDefined)
    return Package(model, spec, given.name, restored.name, int(shape[2]), facts)


def read_program(package: Package) -> Any:
    """Decode a package's program, with its weights, into coremltools' own form (`mil.Program`).

    Raises:
        BackendError: it holds no ML program, or the weights do not fit it.
    """
    return _decode(package.spec, package.model.weights_dir)


def read_any_program(path: Path) -> Any:
    """Decode the program of any package, a restorer's or not, into coremltools' own form (`mil.Program`).

    Raises:
        BackendError: coremltools is not installed, the package is damaged, or it holds no ML program.
    """
    model = _open(path)
    return _decode(model.get_spec(), model.weights_dir)


def constant_of(value: Any) -> Any:
    """The value of a program's constant, compressed or not, as numpy or a plain value; None for what is computed."""
    maker = value.op
    if maker is None:
        return None
    if maker.op_type == COMPRESSED:
        return maker.materialized_val_inference()
    return value.val if maker.op_type == "const" else None


def _open(path: Path) -> Any:
    tools = import_coremltools()
    try:
        return tools.models.MLModel(str(path), skip_model_load=True)
    except Exception as error:  # protobuf, C++ and file errors share no base but Exception
        raise BackendError("a whole .mlpackage", f"{path}: {error}", "export it again") from error


def _decode(spec: Any, weights: str) -> Any:
    load = import_coremltools("coremltools.converters.mil.frontend.milproto.load").load
    try:
        return load(spec, specification_version=spec.specificationVersion, file_weights_dir=weights)
    except Exception as error:  # as above
        raise BackendError("an ML program with its weights", str(error), "export it again") from error


def _only(features: Any, path: Path) -> Any:
    if len(features) != 1 or features[0].type.WhichOneof("Type") != "multiArrayType":
        names = [feature.name for feature in features]
        raise BackendError("one tensor in and one out", f"{names} in {path}", "use a package made by pocketface export")
    kind = features[0].type.multiArrayType
    if kind.dataType != kind.FLOAT32:
        raise BackendError("float32 in and out", f"type {kind.dataType} of {features[0].name} in {path}")
    return features[0]
