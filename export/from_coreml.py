"""Reads back what a Core ML package of ours holds: its tensors and its decoded weights. Works on any system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.backends.mlpackage import constant_of, read_package, read_program
from ..runtime.errors import BackendError, BundleError
from ..runtime.manifest import TensorSpec
from ..runtime.restorer import STRENGTH
from .stored_weights import Contents, Stored, store

# What runs a specification's version, from coremltools' table of deployment targets.
_SYSTEMS = {6: "iOS 15, macOS 12", 7: "iOS 16, macOS 13", 8: "iOS 17, macOS 14", 9: "iOS 18, macOS 15"}


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
    size: int | str = package.sizes[0] if len(package.sizes) == 1 else "S"
    shape, dtype, high = (1, 3, size, size), "float32", 1.0
    if package.images:
        dtype, high = "uint8", 255.0
    layout = "image" if package.images else "NCHW"
    specs = [TensorSpec(name, shape, dtype, layout, 0.0, high) for name in (package.given, package.restored)]
    version = int(package.spec.specificationVersion)
    oldest = _SYSTEMS.get(version, f"Core ML specification {version}")
    strength = [TensorSpec(STRENGTH, (1,), "float32", "", 0.0, 1.0, "")] if package.has_strength else []
    return Contents((specs[0], *strength), (specs[1],), tuple(weights), oldest)


def _decode(value: Any) -> Stored:
    constant = np.asarray(constant_of(value))
    maker = value.op
    if maker.op_type == "constexpr_affine_dequantize":
        steps = np.asarray(maker.inputs["scale"].val)
        return store(value.name, constant, steps.reshape(-1, *[1] * (constant.ndim - 1)))
    if maker.op_type == "constexpr_lut_to_dense":  # no value lies further from an entry of the table than half a gap
        entries = np.sort(np.asarray(maker.inputs["lut"].val, np.float32))
        return store(value.name, constant, float(np.diff(entries).max(initial=0.0)))
    return store(value.name, constant)
