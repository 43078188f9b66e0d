"""Reads back what an ONNX file of ours holds: its tensors and its decoded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from ..runtime.errors import BundleError
from ..runtime.manifest import TensorSpec
from .stored_weights import Contents, Stored, regroup, store

# The first ONNX Runtime that knows an opset, as its compatibility table says.
_FIRST_RUNTIME = {13: "1.6", 14: "1.7", 15: "1.10", 16: "1.11", 17: "1.12", 18: "1.14"}


def read_onnx(path: Path) -> Contents:
    """Decode an ONNX file.

    Raises:
        BundleError: damaged, or not of the kind that `to_onnx` writes.
    """
    try:
        model = onnx.load(path)
        body = model.graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in body.initializer}
        makers = {name: node for node in body.node for name in node.output}
        blocks = _blocks(body)
        weights: list[Stored] = []
        for node in body.node:
            if node.op_type == "Conv":
                block = blocks.get(node.output[0], 1)
                weights += [regroup(_decode(name, constants, makers), block) for name in node.input[1:]]
            elif node.op_type == "LeakyRelu":
                weights.append(store(f"{node.name}.slope", np.asarray(_attribute(node, "alpha"), np.float32)))
        return Contents(_describe(body.input), _describe(body.output), tuple(weights), _oldest_runtime(model))
    except Exception as error:  # protobuf's errors share no base but Exception
        raise BundleError(
            "an ONNX file as written by to_onnx", f"{path}: {error}", "export the bundle again"
        ) from error


def _oldest_runtime(model: onnx.ModelProto) -> str:
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset not in _FIRST_RUNTIME:
        raise ValueError(f"opset {opset}")
    return f"ONNX Runtime {_FIRST_RUNTIME[opset]}"


def _blocks(body: onnx.GraphProto) -> dict[str, int]:
    """Tensor -> factor of the pixel shuffle that reads it, by way of rounding to 8 bits where there is any."""
    found: dict[str, int] = {}
    for node in reversed(body.node):
        if node.op_type == "DepthToSpace":
            found[node.input[0]] = int(_attribute(node, "blocksize"))
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.output[0] in found:
            found[node.input[0]] = found[node.output[0]]
    return found


def _decode(name: str, constants: dict[str, NDArray[np.generic]], makers: dict[str, NodeProto]) -> Stored:
    if name in constants:
        return store(name, constants[name])
    levels, steps, zero_points = (constants[given] for given in makers[name].input)
    shape = (-1, *[1] * (levels.ndim - 1))
    step = steps.astype(np.float32).reshape(shape)
    value = (levels.astype(np.float32) - zero_points.astype(np.float32).reshape(shape)) * step
    return store(name, value, step)


def _attribute(node: NodeProto, name: str) -> float:
    return next(helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name)


def _describe(values: object) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:  # pyright: ignore[reportGeneralTypeIssues] - protobuf's repeated fields have no public type
        kind = value.type.tensor_type
        shape = tuple(side.dim_param or int(side.dim_value) for side in kind.shape.dim)
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        layout, colour = ("NCHW", "RGB") if len(shape) == 4 else ("", "")
        specs.append(TensorSpec(value.name, shape, dtype, layout, 0.0, 1.0, colour))
    return tuple(specs)
