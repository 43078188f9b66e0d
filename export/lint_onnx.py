"""The linter's eye for ONNX files: reading them, and the taste of ONNX Runtime's mobile execution providers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, shape_inference

from ..runtime.errors import BundleError
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

_CONVERT = ("QuantizeLinear", "DequantizeLinear")
_DYNAMIC = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")


# The tables that ONNX Runtime publishes for each provider.
_NNAPI = words("""
    Abs Add AveragePool BatchNormalization Cast Clip Concat Conv DepthToSpace DequantizeLinear Div Elu Exp Flatten Floor
    Gather Gemm GlobalAveragePool GlobalMaxPool Identity LeakyRelu Log LRN MatMul MaxPool Max Min Mul Neg Pad Pow PRelu
    QLinearConv QLinearMatMul QuantizeLinear ReduceMean Relu Reshape Resize Sigmoid Sin Slice Softmax Split Sqrt Squeeze
    Sub Tanh Transpose Unsqueeze
""")
_COREML = words("""
    Add Argmax AveragePool Cast Clip Concat Conv ConvTranspose Cos DepthToSpace Ceil Div Elu Erf Exp GatherND Gemm Gelu
    GlobalAveragePool GlobalMaxPool GridSample GroupNormalization HardSigmoid Identity InstanceNormalization
    LayerNormalization LeakyRelu MatMul MaxPool Max Mul Pow PRelu Range Reciprocal ReduceSum ReduceMean ReduceMax Relu
    Reshape Resize Round Shape Sin Slice Softplus Split Sub Sigmoid Softmax Sqrt Squeeze Tanh Tile Transpose Unsqueeze
""")
_QNN = words("""
    Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Ceil Clip Concat Conv ConvTranspose Cos
    CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Exp Expand Flatten Floor Gather GatherElements GatherND
    Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish Identity
    InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max
    MaxPool Mean Min Mul Neg Not Or PRelu Pad Pow QuantizeLinear ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    Relu Reshape Resize Round ScatterND Sigmoid Sign Sin Slice Softmax SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile
    TopK Transpose Unsqueeze Upsample Where Xor
""")


def read_graph(path: Path) -> DeviceGraph:
    """Read any ONNX file as it runs once its open sides are set; only `inputs` still show them.

    Raises:
        BundleError: damaged, or not an ONNX file.
    """
    try:
        model = onnx.load(path)
        body = shape_inference.infer_shapes(model).graph
        tensors = _tensors(body)
        operations = tuple(_operation(node, tensors) for node in body.node if node.op_type != "Constant")
        inputs = tuple(_given(value) for value in body.input if not tensors[value.name].constant)
    except Exception as error:  # protobuf's errors share no base but Exception
        raise BundleError("a whole ONNX file", f"{path}: {error}", "export it again") from error
    decoded = {i for i, operation in enumerate(operations) if not operation.fed}
    kept = tuple(operation for i, operation in enumerate(operations) if i not in decoded)
    return DeviceGraph("onnx", kept, inputs, _arithmetic(kept))


def _tensors(body: onnx.GraphProto) -> dict[str, Tensor]:
    """Every tensor of a graph by name; what is computed from constants alone is a constant."""
    found: dict[str, Tensor] = {}
    for value in (*body.input, *body.value_info, *body.output):
        given = _given(value)
        # An application sets open sides when it makes a session, so that no node suffers: `_open` reminds of it.
        shape = None if given.shape is None else tuple(abs(side) for side in given.shape)
        found[value.name] = Tensor(value.name, shape, given.dtype)
    for tensor in body.initializer:
        found[tensor.name] = Tensor(tensor.name, tuple(tensor.dims), _type(tensor.data_type), constant=True)
    for node in body.node:
        fixed = all(found[name].constant for name in node.input if name in found)
        for name in node.output:
            known = found.get(name, Tensor(name, None, ""))
            found[name] = Tensor(name, known.shape, known.dtype, constant=fixed)
    return found


def _given(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    sides = tuple(int(side.dim_value) if side.HasField("dim_value") else -1 for side in kind.shape.dim)
    return Tensor(value.name, sides if kind.HasField("shape") else None, _type(kind.elem_type))


def _type(code: int) -> str:
    return "" if code == TensorProto.UNDEFINED else np.dtype(helper.tensor_dtype_to_np_dtype(code)).name


def _operation(node: NodeProto, tensors: Mapping[str, Tensor]) -> Operation:
    given = tuple(tensors[name] for name in node.input if name)
    made = tuple(tensors[name] for name in node.output)
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    name = node.name or node.output[0]
    weights = next((tensor.name for tensor in given if tensor.constant and tensor.name.endswith(".weight")), "")
    module = weights.removesuffix(".weight") or module_of_name(
        name.removesuffix("_quantize").removesuffix("_dequantize")
    )
    return Operation(node.op_type, name, module, given, made, settings)


def _arithmetic(operations: tuple[Operation, ...]) -> str:
    kinds = {operation.kind for operation in operations}
    if kinds & {*_DYNAMIC}:
        return "hybrid"
    if kinds & {*_CONVERT, "QLinearConv"}:
        return "int8"
    halves = any(tensor.dtype == "float16" for operation in operations for tensor in operation.outputs)
    return "float16" if halves else "float32"


def _listed(known: frozenset[str], operation: Operation) -> Iterator[tuple[str, str]]:
    yield from common_faults(operation)
    if operation.kind not in known:
        yield REFUSED, f"{operation.kind} is not on its list"
    if operation.kind == "Transpose":
        yield SLOW, "moves a whole tensor through memory; reorder the weights before or behind it instead"


def _nnapi(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    yield from _listed(_NNAPI, operation)
    if operation.kind == "DepthToSpace" and operation.settings.get("mode", b"DCR") != b"DCR":
        yield REFUSED, "only mode DCR; reorder the channels of the convolution before it"
    if operation.kind == "Conv" and not all(tensor.constant for tensor in operation.inputs[1:]):
        yield REFUSED, "a convolution whose weights are computed"
    yield from _island(operation, graph)


def _coreml(operation: Operation, _: DeviceGraph) -> Iterator[tuple[str, str]]:
    yield from _listed(_COREML, operation)
    if operation.kind == "DepthToSpace" and operation.settings.get("mode", b"DCR") != b"DCR":
        yield REFUSED, "mode CRD only where all sides are fixed, and never in the older NeuralNetwork format"


def _qnn(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    yield from _listed(_QNN, operation)
    yield from _island(operation, graph)


def _island(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    if graph.arithmetic == "int8" and operation.kind not in _CONVERT and is_island(operation, graph, _in_levels(graph)):
        yield SLOW, "computes in float between 8-bit nodes: the values leave the accelerator and come back"


def _in_levels(graph: DeviceGraph) -> list[bool]:
    """Which operations a runtime fuses with the rounding around them, so that they compute in 8 bits."""
    makers = {tensor.name: operation.kind for operation in graph.operations for tensor in operation.outputs}
    readers: dict[str, list[str]] = {}
    for operation in graph.operations:
        for tensor in operation.inputs:
            readers.setdefault(tensor.name, []).append(operation.kind)
    return [
        operation.kind in (*_CONVERT, "QLinearConv")
        or (
            all(makers.get(tensor.name) == "DequantizeLinear" for tensor in operation.fed)
            and all(set(readers.get(tensor.name, [""])) == {"QuantizeLinear"} for tensor in operation.outputs)
        )
        for operation in graph.operations
    ]


def _no_levels(graph: DeviceGraph) -> str:
    if graph.arithmetic in ("int8", "hybrid"):
        return "it knows no QuantizeLinear: give it the fp16 file, or the Core ML package"
    return ""


def _no_halves(graph: DeviceGraph) -> str:
    if graph.arithmetic == "hybrid":
        return "weights alone are 8-bit, which only CPUs run"
    if graph.arithmetic == "float16":
        return "it takes no float16 tensors: give it the fp32 file with NNAPI_FLAG_USE_FP16"
    return ""


def _open(graph: DeviceGraph) -> str:
    names = [tensor.name for tensor in graph.inputs if -1 in (tensor.shape or ())]
    if not names:
        return ""
    return f"{names[0]} has open sides: set them when the session is made (free dimension override, N=1)"


_DOCS = "ONNX Runtime (MIT)"
DELEGATES = (
    Delegate("nnapi", "ONNX Runtime's NNAPI provider", f"{_DOCS} nnapi_supported_ops.md", _nnapi, _no_halves, _open),
    Delegate(
        "coreml", "ONNX Runtime's Core ML provider", f"{_DOCS} coreml_supported_mlprogram_ops.md", _coreml, _no_levels,
        _open,
    ),
    Delegate(
        "qnn", "ONNX Runtime's QNN provider (Hexagon HTP)", f"{_DOCS} QNN-ExecutionProvider.md", _qnn, remark=_open
    ),
)  # fmt: skip
