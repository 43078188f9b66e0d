"""Builds a TFLite file piece by piece: tensors, constants, operators, signature, metadata, then bytes.

It knows the file format and nothing about networks. The same calls give the same bytes. Every operator carries the
version that its use needs and no higher, because old runtimes refuse versions that they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from .quantise import Quantization

IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
# Kernels load constants with vector instructions; TFLite's schema asks for the same.
_ALIGNMENT = 16
# Operators numbered above this stand in a second field that old runtimes do not read; none is used here.
_LAST_OLD_CODE = 127
TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
}


class TFLiteBuilder:
    """One subgraph in the making; tensors are referred to by index."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 is by convention the empty one
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._metadata: list[Any] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: type[np.generic],
        quantization: Quantization | None = None,
        signature: Sequence[int] | None = None,
    ) -> int:
        """Add a tensor that is computed, and return its index.

        Args:
            name: for people and error messages.
            shape: of the first call; the engine may resize dimensions that are -1 in `signature`.
            dtype: a key of TYPES.
            quantization: None for a float tensor.
            signature: `shape` with -1 for open dimensions; None where all are fixed.
        """
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), TYPES[np.dtype(dtype)]
        tensor.shapeSignature = None if signature is None else list(signature)
        tensor.quantization = None if quantization is None else _pack_quantization(quantization)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, name: str, values: NDArray[Any], quantization: Quantization | None = None) -> int:
        """Add a tensor whose values stand in the file, and return its index."""
        index = self.tensor(name, values.shape, values.dtype.type, quantization)
        little_endian = values.astype(values.dtype.newbyteorder("<"), copy=False)
        self._tensors[index].buffer = self._buffer(little_endian.tobytes())
        return index

    def operator(
        self, name: str, version: int, inputs: Sequence[int], outputs: Sequence[int], options: Any | None = None
    ) -> None:
        """Append an operator.

        Args:
            name: of the schema's BuiltinOperator, for example `CONV_2D`.
            version: the lowest that knows this use.
            inputs, outputs: indices of tensors; what it reads must have been written before.
            options: one of the schema's option objects, for example `Conv2DOptionsT`.
        """
        code = getattr(schema.BuiltinOperator, name)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((code, version), len(self._codes))
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        self._operators.append(operator)

    def metadata(self, name: str, content: bytes) -> None:
        """Attach named bytes to the file."""
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self._buffer(content)
        self._metadata.append(entry)

    def operators(self) -> list[tuple[str, int]]:
        """Name and version of every kind of operator used so far."""
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        return [(names[code], version) for code, version in self._codes]

    def to_bytes(
        self, description: str, signature: str, inputs: Mapping[str, int], outputs: Mapping[str, int]
    ) -> bytes:
        """Finish the file.

        Args:
            description: a sentence for people who open the file in a viewer.
            signature: the name under which applications call the network.
            inputs, outputs: name in the signature -> tensor, in the order of the interpreter's lists.
        """
        model = schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, description
        model.operatorCodes = [_operator_code(code, version) for code, version in self._codes]
        model.subgraphs = [self._subgraph(inputs, outputs)]
        model.buffers, model.metadata = self._buffers, self._metadata
        model.signatureDefs = [_signature(signature, inputs, outputs)]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _buffer(self, content: bytes) -> int:
        self._buffers.append(_AlignedBuffer(content))
        return len(self._buffers) - 1

    def _subgraph(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
        subgraph = schema.SubGraphT()
        subgraph.name, subgraph.tensors, subgraph.operators = "main", self._tensors, self._operators
        subgraph.inputs = list(inputs.values())
        subgraph.outputs = list(outputs.values())
        return subgraph


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes start at a multiple of 16, which the generated code forgets."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the generated code's name
        """Write the buffer and return its offset."""
        builder.StartVector(1, len(self._content), _ALIGNMENT)
        builder.head -= len(self._content)
        builder.Bytes[builder.head : builder.head + len(self._content)] = self._content
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _pack_quantization(quantization: Quantization) -> Any:
    packed = schema.QuantizationParametersT()
    packed.scale, packed.zeroPoint = quantization.scales.tolist(), quantization.zero_points.tolist()
    packed.quantizedDimension = quantization.axis
    return packed


def _operator_code(code: int, version: int) -> Any:
    packed = schema.OperatorCodeT()
    packed.builtinCode, packed.version = code, version
    packed.deprecatedBuiltinCode = min(code, _LAST_OLD_CODE)
    return packed


def _signature(key: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = key
    signature.inputs, signature.outputs = _tensor_map(inputs), _tensor_map(outputs)
    return signature


def _tensor_map(tensors: Mapping[str, int]) -> list[Any]:
    packed = []
    for name, index in tensors.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        packed.append(entry)
    return packed
