"""Reads back what a Core ML package of ours holds: its tensors and its decoded weights. Works on any system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.backends.mlpackage import COMPRESSED, constant_of, read_package, read_program
from ..runtime.errors import BackendError, BundleError
from ..runtime.manifest import TensorSpec
from .stored_weights import Contents, Stored, store


def read_coreml(path: Path) -> Contents:
    """Decode an `.mlpackage`.

    Raises:
        BundleError: damaged, or not of the kind that `to_coreml` writes.
    """
    try:
        package = read_package(path)
        weights: list[Stored] = []
        for operation in read_program(package).functions["main"].operations:
            if operation.op_type == "conv":
                weights += [_decode(operation.inputs[key]) for key in ("weight", "bias")]
            elif operation.op_type == "leaky_relu":
                slope = np.asarray(constant_of(operation.inputs["alpha"])).reshape(())
                weights.append(store(f"{operation.name}.slope", slope))
    except (BackendError, KeyError, ValueError) as error:
        raise BundleError("a package as written by to_coreml", f"{path}: {error}", "export the bundle again") from error
    shape = (1, 3, package.size, package.size)
    specs = [TensorSpec(name, shape, "float32", "NCHW", 0.0, 1.0) for name in (package.given, package.restored)]
    return Contents((specs[0],), (specs[1],), tuple(weights))


def _decode(value: Any) -> Stored:
    constant = np.asarray(constant_of(value))
    maker = value.op
    if maker.op_type != COMPRESSED:
        return store(value.name, constant)
    steps = np.asarray(maker.inputs["scale"].val, np.float32)
    return store(value.name, constant, steps.reshape(-1, *[1] * (constant.ndim - 1)))
