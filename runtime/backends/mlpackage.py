"""Core ML packages, read on any system: coremltools without its noise, and what a restorer's package must look like."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BackendError, ContractError
from ..manifest import hash_artefact
from ..restorer import STRENGTH, RestorerInfo

# The operations that hold compressed weights: levels with scales, numbers into a table, the narrower float.
COMPRESSED = ("constexpr_affine_dequantize", "constexpr_lut_to_dense", "constexpr_cast")
_IMAGE, _TENSOR = "imageType", "multiArrayType"


@dataclass(frozen=True)
class Package:
    """An `.mlpackage` with one face in and one out, both (1, 3, S, S) float32 or both RGB images of S by S pixels.

    Args:
        model: coremltools' `MLModel`, not loaded into any engine.
        spec: its protobuf specification.
        given, restored: names of the input and the output.
        sizes: every S it takes, the default first.
        images: whether it takes and gives 8-bit images; its program then computes in grey levels, 0 to 255.
        facts: the metadata its maker wrote.
        has_strength: whether it takes `strength`, (1,) float32, beside the face.
    """

    model: Any
    spec: Any
    given: str
    restored: str
    sizes: tuple[int, ...]
    images: bool
    facts: dict[str, str]
    has_strength: bool = False

    def info(self, path: Path, engine: str, device: str) -> RestorerInfo:
        """What a restorer made of this package is."""
        only = self.sizes[0] if len(self.sizes) == 1 else None
        multiple = self.sizes[0] if only else math.gcd(*self.sizes)
        name = self.facts.get("name", path.stem)
        return RestorerInfo(name, engine, device, only, multiple, self.sizes[0], hash_artefact(path))

    def check_size(self, size: int) -> None:
        """Refuse faces of a size that a package of several sizes does not list.

        Raises:
            ContractError: such a size.
        """
        if size not in self.sizes:
            sides = " or ".join(map(str, self.sizes))
            raise ContractError(f"faces of {sides} pixels a side", str(size), "align to one of these")


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
    faces = [feature for feature in spec.description.input if feature.name != STRENGTH]
    given, restored = _only(faces, path), _only(spec.description.output, path)
    images = given.type.WhichOneof("Type") == _IMAGE
    if images != (restored.type.WhichOneof("Type") == _IMAGE):
        raise BackendError("images or tensors at both ends", f"one of each in {path}")
    facts = dict(spec.description.metadata.userDefined)
    has_strength = len(faces) < len(spec.description.input)
    return Package(model, spec, given.name, restored.name, _sizes(given, path), images, facts, has_strength)


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
    if maker.op_type in COMPRESSED:
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
    kinds = [feature.type.WhichOneof("Type") for feature in features]
    if len(kinds) != 1 or kinds[0] not in (_TENSOR, _IMAGE):
        names = [feature.name for feature in features]
        raise BackendError(
            "one tensor or image in and one out", f"{names} in {path}", "use a package made by pocketface export"
        )
    kind = getattr(features[0].type, kinds[0])
    if kinds[0] == _TENSOR and kind.dataType != kind.FLOAT32:
        raise BackendError("float32 in and out", f"type {kind.dataType} of {features[0].name} in {path}")
    if kinds[0] == _IMAGE and kind.colorSpace != kind.RGB:
        raise BackendError("RGB images", f"colour space {kind.colorSpace} of {features[0].name} in {path}")
    return features[0]


def _sizes(given: Any, path: Path) -> tuple[int, ...]:
    if given.type.WhichOneof("Type") == _IMAGE:
        kind = given.type.imageType
        shapes = [(1, 3, int(kind.height), int(kind.width))]
    else:
        kind = given.type.multiArrayType
        listed = [tuple(int(side) for side in shape.shape) for shape in kind.enumeratedShapes.shapes]
        shapes = list(dict.fromkeys([tuple(int(side) for side in kind.shape), *listed]))
    if any(len(shape) != 4 or shape[:2] != (1, 3) or shape[2] != shape[3] for shape in shapes):
        raise BackendError("an input of shape (1, 3, S, S)", f"{shapes} in {path}")
    return tuple(shape[2] for shape in shapes)
