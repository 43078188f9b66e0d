"""Reads back what a TFLite file of ours holds: its tensors and its decoded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..runtime.errors import BundleError
from ..runtime.manifest import TensorSpec
from .stored_weights import Contents, Stored, rearrange, regroup, store
from .tflite_versions import oldest_runtime

_TYPES = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.FLOAT16: np.dtype("<f2"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.INT8: np.dtype("i1"),
    schema.TensorType.UINT8: np.dtype("u1"),
}
_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
# From (O, kh, kw, I), or (1, kh, kw, O) where depthwise, to (O, I, kh, kw).
_AXES = {
    schema.BuiltinOperator.CONV_2D: (0, 3, 1, 2),
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: (3, 0, 1, 2),
}


def read_tflite(path: Path) -> Contents:
    """Decode a TFLite file.

    Raises:
        BundleError: damaged, or not of the kind that `to_tflite` writes.
    """
    try:
        reader = _Reader(path.read_bytes())
        specs = [reader.describe(end) for end in ("inputs", "outputs")]
        return Contents(specs[0], specs[1], tuple(reader.weights()), f"TFLite {oldest_runtime(reader.operators)}")
    except Exception as error:  # a damaged flatbuffer raises whatever reading at a wrong place raises
        raise BundleError(
            "a TFLite file written by to_tflite", f"{path}: {error}", "export the bundle again"
        ) from error


class _Reader:
    """The one subgraph of a file; schema objects are `Any` because the generated code types them as unions of all."""

    def __init__(self, data: bytes) -> None:
        if not schema.Model.ModelBufferHasIdentifier(data, 0):
            raise ValueError("no TFLite identifier")
        model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
        (self._graph,) = model.subgraphs
        self._buffers = [buffer.data for buffer in model.buffers]
        self._codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        versions = [int(code.version) for code in model.operatorCodes]
        self.operators = [(_NAMES[code], version) for code, version in zip(self._codes, versions, strict=True)]
        # Half-precision constants are widened by an operator of their own; where it reads is where they are.
        widened = self._find(schema.BuiltinOperator.DEQUANTIZE)
        self._origins = {int(operator.outputs[0]): int(operator.inputs[0]) for operator in widened}
        shuffled = self._find(schema.BuiltinOperator.DEPTH_TO_SPACE)
        self._blocks = {int(operator.inputs[0]): int(operator.builtinOptions.blockSize) for operator in shuffled}

    def describe(self, end: str) -> tuple[TensorSpec, ...]:
        specs = []
        for index in getattr(self._graph, end):
            tensor = self._graph.tensors[index]
            dtype = _TYPES[tensor.type]
            high = 1.0 if dtype.kind == "f" else 255.0
            shape = tuple(int(side) for side in tensor.shape)
            layout, colour = ("NHWC", "RGB") if len(shape) == 4 else ("", "")
            specs.append(TensorSpec(_text(tensor.name), shape, dtype.name, layout, 0.0, high, colour))
        return tuple(specs)

    def weights(self) -> list[Stored]:
        found: list[Stored] = []
        for operator in self._graph.operators:
            if self._code(operator) in _AXES:
                found += self._convolution(operator)
            elif self._code(operator) == schema.BuiltinOperator.LEAKY_RELU:
                name = _text(self._graph.tensors[operator.outputs[0]].name)
                found.append(store(f"{name}.slope", np.asarray(operator.builtinOptions.alpha, np.float32)))
        return found

    def _convolution(self, operator: Any) -> list[Stored]:
        """Kernel and bias in PyTorch's order of axes and of channels."""
        kernel, bias = (self._decode(int(index)) for index in operator.inputs[1:3])
        kernel = rearrange(kernel, lambda values: values.transpose(_AXES[self._code(operator)]))
        return [regroup(part, self._blocks.get(int(operator.outputs[0]), 1)) for part in (kernel, bias)]

    def _find(self, code: int) -> list[Any]:
        return [operator for operator in self._graph.operators if self._code(operator) == code]

    def _code(self, operator: Any) -> int:
        return self._codes[operator.opcodeIndex]

    def _decode(self, index: int) -> Stored:
        tensor = self._graph.tensors[self._origins.get(index, index)]
        values = np.asarray(self._buffers[tensor.buffer], np.uint8).view(_TYPES[tensor.type]).reshape(tensor.shape)
        name, quantization = _text(tensor.name), tensor.quantization
        if values.dtype.kind == "f":
            return store(name, values)
        sides = [1] * values.ndim
        sides[quantization.quantizedDimension] = -1
        step = np.asarray(quantization.scale, np.float32).reshape(sides)
        zero = np.asarray(quantization.zeroPoint, np.float32).reshape(sides)
        decoded = (values.astype(np.float32) - zero) * step
        return store(name, decoded, np.broadcast_to(step, decoded.shape))


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""
