"""The linter's eye for TFLite files: reading them, and the taste of TFLite's delegates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..runtime.backends.tflite_file import check_tflite
from .lint_graph import (
    REFUSED,
    SLOW,
    Delegate,
    DeviceGraph,
    Operation,
    Tensor,
    common_faults,
    is_island,
    module_of_name,
    words,
)

_KINDS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
_TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
_LEVELS = ("int8", "uint8")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_CONVERT = ("QUANTIZE", "DEQUANTIZE")


# CheckGpuDelegateCompatibility in tensorflow/lite/tools/versioning/gpu_compatibility.cc.
_GPU = words("""
    ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D CUMSUM DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE
    DEQUANTIZE FULLY_CONNECTED GATHER HARD_SWISH LSTM MAX_POOL_2D MEAN MUL PACK ONE_HOT QUANTIZE RELU_N1_TO_1 PRELU
    RESHAPE SELECT SELECT_V2 SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V STRIDED_SLICE TILE TRANSPOSE TRANSPOSE_CONV
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RELU RELU6 LEAKY_RELU REDUCE_MAX REDUCE_MIN REDUCE_PROD SUM PAD PADV2
    MIRROR_PAD ABS CEIL COS ELU EXP FLOOR GELU LOG LOGISTIC NEG RSQRT SIGN SIN SQRT SQUARE TANH ATAN2 DIV EQUAL
    FLOOR_DIV FLOOR_MOD GREATER GREATER_EQUAL LOGICAL_AND LESS LESS_EQUAL MAXIMUM MINIMUM NOT_EQUAL POW
    SQUARED_DIFFERENCE SUB
""")
# NNAPIDelegateKernel::Validate in tensorflow/lite/delegates/nnapi/nnapi_delegate.cc, API level 30 and above.
_NNAPI = words("""
    ADD AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED HARD_SWISH SOFTMAX RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SQUEEZE L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION CONCATENATION
    DEQUANTIZE FLOOR RELU RELU_N1_TO_1 RELU6 LOGISTIC TANH SUB DIV PAD PADV2 SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND
    STRIDED_SLICE TRANSPOSE ABS EXP LOG RSQRT POW SLICE SIN TRANSPOSE_CONV SQRT SPACE_TO_DEPTH LSTM MEAN MAXIMUM
    MINIMUM CAST LEAKY_RELU PRELU TILE LOGICAL_OR LOGICAL_AND LOGICAL_NOT LESS LESS_EQUAL GREATER GREATER_EQUAL EQUAL
    NOT_EQUAL NEG TOPK_V2 SELECT GATHER EXPAND_DIMS SPLIT SPLIT_V LOG_SOFTMAX QUANTIZE REDUCE_ANY REDUCE_MIN
    REDUCE_MAX DEPTH_TO_SPACE REDUCE_PROD SUM ELU FILL MUL
""")
_NNAPI_NEWEST = {"LEAKY_RELU": 1, "PRELU": 1, "RESIZE_BILINEAR": 3, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "RESHAPE": 1}
# IsNodeSupportedByHexagon in tensorflow/lite/delegates/hexagon/utils.cc: the retired delegate for HVX.
_HVX = words("""
    ADD MUL SUB MEAN MIRROR_PAD PAD FULLY_CONNECTED CONCATENATION MAX_POOL_2D AVERAGE_POOL_2D TRANSPOSE_CONV CONV_2D
    DEPTHWISE_CONV_2D RESHAPE SOFTMAX HARD_SWISH RELU RELU6 TANH LOGISTIC RESIZE_NEAREST_NEIGHBOR L2_NORMALIZATION
    ARG_MAX ARG_MIN SPLIT RESIZE_BILINEAR NEG TRANSPOSE SPACE_TO_DEPTH DEPTH_TO_SPACE QUANTIZE MINIMUM MAXIMUM SLICE
    PACK STRIDED_SLICE SQUARED_DIFFERENCE RSQRT
""")
_HVX_VERSION_2 = words("""
    ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D CONCATENATION L2_NORMALIZATION LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL PACK PAD QUANTIZE RELU RELU6 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_DEPTH
    SPLIT STRIDED_SLICE SUB TANH TRANSPOSE TRANSPOSE_CONV
""")
_HVX_VERSION = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, **dict.fromkeys(_HVX_VERSION_2, 2)}
_HVX_STRIDE, _HVX_RESIZE = 3, 65
_CONTROL = words("IF WHILE CALL CALL_ONCE CUSTOM VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE GATHER_ND WHERE UNIQUE")
_MASKS = ("ellipsisMask", "newAxisMask", "shrinkAxisMask")


def read_graph(path: Path) -> DeviceGraph:
    """Read the main subgraph of any TFLite file; operators that only decode constants are left out.

    Raises:
        BackendError: damaged, or not a TFLite file.
        BundleError: nothing there.
    """
    data = path.read_bytes()
    check_tflite(data, path)
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    body = model.subgraphs[0]
    tensors = [_tensor(tensor, bool(model.buffers[tensor.buffer].data is not None)) for tensor in body.tensors]
    operations = []
    for operator in body.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        operation = _operation(operator, code, tensors)
        if operation.kind in (*_CONVERT, "DENSIFY") and not operation.fed:
            for index in operator.outputs:  # half-precision weights, widened once when the file is loaded
                tensors[index] = Tensor(tensors[index].name, tensors[index].shape, "float16", constant=True)
        else:
            operations.append(operation)
    inputs = tuple(tensors[index] for index in body.inputs)
    return DeviceGraph("tflite", tuple(operations), inputs, _arithmetic(operations))


def _tensor(tensor: Any, constant: bool) -> Tensor:  # noqa: FBT001 - mirrors the field
    sides = tensor.shape if tensor.shapeSignature is None or not len(tensor.shapeSignature) else tensor.shapeSignature
    shape = () if sides is None else tuple(int(side) for side in np.atleast_1d(sides))
    return Tensor(_text(tensor.name), shape, _TYPES[tensor.type], constant)


def _operation(operator: Any, code: Any, tensors: list[Tensor]) -> Operation:
    kind = _KINDS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "?")
    given = tuple(tensors[index] for index in operator.inputs if index >= 0)
    made = tuple(tensors[index] for index in operator.outputs)
    settings = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
    name = made[0].name if made else kind
    weights = next((tensor.name for tensor in given if tensor.constant and tensor.name.endswith(".weight")), "")
    module = weights.removesuffix(".weight") or module_of_name(name)
    return Operation(kind, name, module, given, made, settings, int(code.version))


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""


def _arithmetic(operations: list[Operation]) -> str:
    layers = [operation for operation in operations if operation.kind in _WEIGHTED and len(operation.inputs) > 1]
    if any(operation.outputs[0].dtype in _LEVELS for operation in layers):
        return "int8"
    if any(operation.inputs[1].dtype in _LEVELS for operation in layers):
        return "hybrid"
    return "float32"


def _gpu(operation: Operation, _: DeviceGraph) -> Iterator[tuple[str, str]]:
    yield from common_faults(operation)
    kind, settings = operation.kind, operation.settings
    if kind not in _GPU:
        yield REFUSED, f"{kind} is not on its list"
    elif kind in ("SELECT", "SELECT_V2"):
        whole = operation.outputs[0].shape
        branches = operation.inputs[1:]
        if any(tensor.shape != whole and np.prod(tensor.shape or (1,)) != 1 for tensor in branches):
            yield REFUSED, "a choice between tensors that are broadcast"
        yield SLOW, "known to newer versions of the delegate alone; with older ones the CPU takes over here"
    elif kind == "DEPTHWISE_CONV_2D":
        source = operation.inputs[0].shape
        if settings.get("depthMultiplier") != 1 and source is not None and source[-1] != 1:
            yield REFUSED, "a depthwise convolution that multiplies channels"
    elif kind == "STRIDED_SLICE" and any(settings.get(mask) for mask in _MASKS):
        yield REFUSED, "a slice that adds or removes axes"
    yield from _moving(operation)


def _nnapi(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    yield from common_faults(operation)
    newest = _NNAPI_NEWEST.get(operation.kind)
    if operation.kind not in _NNAPI:
        yield REFUSED, f"{operation.kind} is not on its list"
    elif newest is not None and operation.version > newest:
        yield REFUSED, f"version {operation.version} of {operation.kind}; it knows up to {newest}"
    elif operation.kind == "SELECT" and len({tensor.shape for tensor in operation.inputs}) > 1:
        yield REFUSED, "a choice between tensors of several shapes"
    yield from _moving(operation)
    yield from _island(operation, graph)


def _hexagon(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    yield from common_faults(operation)
    if operation.kind in _CONTROL:
        yield REFUSED, f"{operation.kind} has no place in a static graph of a signal processor"
    yield from _moving(operation)
    yield from _island(operation, graph)


def _hvx(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    yield from common_faults(operation)
    kind, settings = operation.kind, operation.settings
    newest = _HVX_VERSION.get(kind, 1)
    if kind not in _HVX or operation.version > newest:
        yield REFUSED, f"version {operation.version} of {kind} is not on its list"
    elif any(tensor.dtype not in (*_LEVELS, "int32") for tensor in operation.inputs):
        yield REFUSED, "it takes 8-bit tensors alone"
    elif max(settings.get("strideH") or 1, settings.get("strideW") or 1) > _HVX_STRIDE:
        yield REFUSED, f"a stride beyond {_HVX_STRIDE}"
    elif kind == "RESIZE_BILINEAR" and max((operation.outputs[0].shape or (0,))[1:3]) > _HVX_RESIZE:
        yield REFUSED, f"an enlargement beyond {_HVX_RESIZE} pixels a side"
    yield from _island(operation, graph)


def _xnnpack(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    kind, levels = operation.kind, operation.outputs[0].dtype in _LEVELS
    if kind == "PRELU" and levels:
        yield SLOW, "8-bit PRELU runs outside the delegate: 47 partitions and 3 times the time were measured"
    if kind == "DEPTHWISE_CONV_2D" and graph.arithmetic == "hybrid" and operation.inputs[1].dtype in _LEVELS:
        yield SLOW, "a depthwise layer with 8-bit weights under float activations runs outside the delegate"
    if kind in ("SELECT", "SELECT_V2", "GREATER", "WHERE", "GATHER_ND", *_CONTROL):
        yield REFUSED, f"{kind} is not on its list"
    if kind == "RESIZE_NEAREST_NEIGHBOR":
        yield SLOW, "runs outside the delegate and splits it; bilinear does not"
    yield from _moving(operation)
    yield from _island(operation, graph)


def _moving(operation: Operation) -> Iterator[tuple[str, str]]:
    if operation.kind == "TRANSPOSE":
        yield SLOW, "moves a whole tensor through memory; reorder the weights before or behind it instead"


def _island(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    if graph.arithmetic == "int8" and operation.kind not in _CONVERT:
        # Rounding at a file's own ends is no computation.
        levels = [
            other.kind not in _CONVERT and all(tensor.dtype in _LEVELS for tensor in other.outputs)
            for other in graph.operations
        ]
        if is_island(operation, graph, levels):
            yield SLOW, "computes in float between 8-bit nodes: the values leave the accelerator and come back"


def _not_hybrid(graph: DeviceGraph) -> str:
    return "weights alone are 8-bit, which only CPUs run (dynamic range)" if graph.arithmetic == "hybrid" else ""


def _not_float(graph: DeviceGraph) -> str:
    return "" if graph.arithmetic == "int8" else "it runs 8-bit graphs alone"


_TREE = "tensorflow/lite (Apache-2.0)"
DELEGATES = (
    Delegate("gpu", "TFLite GPU delegate", f"{_TREE} tools/versioning/gpu_compatibility.cc", _gpu),
    Delegate("nnapi", "Android NNAPI, API 30", f"{_TREE} delegates/nnapi/nnapi_delegate.cc", _nnapi, _not_hybrid),
    Delegate("hexagon", "Qualcomm QNN delegate (HTP)", "QNN HTP supported operations", _hexagon, _not_hybrid),
    Delegate("xnnpack", "XNNPACK on the CPU", "docs/experiments.md, measured", _xnnpack),
    Delegate(
        "hexagon-hvx", "TFLite's retired Hexagon delegate", f"{_TREE} delegates/hexagon/utils.cc", _hvx, _not_float
    ),
)
