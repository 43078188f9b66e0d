"""Writes the deploy graph as ONNX: opset 17, tensors named as the graph's nodes, eight kinds of operation.

The graph is so small a language that it is written node by node. PyTorch's own exporters would need the deprecated
TorchScript route or onnxscript, rename every tensor, and share equal biases between layers, so that ranges measured a
node and weights read back from the file could only be matched by counting.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import fx, nn

from ..runtime.atomic import replacing_file
from ..runtime.errors import ExportError
from ..runtime.restorer import STRENGTH
from .deploy_graph import (
    IMAGE,
    RESTORED,
    convolution_weights,
    describe,
    find_nodes,
    float_ends_of,
    has_strength,
    module_of,
    shuffle_after,
)
from .onnx_int8 import quantise
from .quantise import to_half

if TYPE_CHECKING:
    from .calibration import ActivationRanges

OPSET = 17
# Written by onnx 1.12 (2022) and read by everything since; the newest would lock out the runtimes that phones carry.
_IR_VERSION = 8
PRECISIONS = ("fp32", "fp16", "int8")


def write_onnx(
    graph: fx.GraphModule,
    size: int | None,
    precision: str,
    path: Path,
    *,
    ranges: ActivationRanges | None = None,
    facts: Mapping[str, str] | None = None,
    keep_float: Collection[str] | None = None,
) -> None:
    """Write an ONNX file with input `image` and output `restored`, (N, 3, S, S) float32 RGB in [0, 1], N open.

    A second input, `strength`, (1,), may be left out and is 1 then.

    Args:
        graph: from `build_deploy_graph`.
        size: S; None leaves it open too, and `facts` should then hold `multiple` and `native_size`.
        precision: `fp32`; `fp16`, weights and arithmetic, with float32 in and out; `int8`, see `onnx_int8`.
        path: the destination.
        ranges: measured on this graph; `int8` needs them.
        facts: goes into the file's metadata.
        keep_float: names of nodes that an int8 file computes in float; None takes `float_ends_of(graph)`.

    Raises:
        ExportError: an operation that the format lacks, an unknown precision, or ranges missing or of another network.
        OutputError: the place cannot be written to.
    """
    model = build_onnx(graph, size)
    if precision == "fp16":
        model = halve(model)
    elif precision == "int8":
        if ranges is None:
            raise ExportError("activation ranges for int8", "none", "measure them with observe_ranges()")
        ranges.check(graph)
        kept = float_ends_of(graph) if keep_float is None else keep_float
        model = quantise(model, ranges.values, [node.name for node in find_nodes(graph, kept)])
    elif precision != "fp32":
        raise ExportError(f"a precision of {', '.join(PRECISIONS)}", f"'{precision}'")
    helper.set_model_props(model, dict(facts or {}))
    onnx.checker.check_model(model, full_check=True)
    with replacing_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def build_onnx(graph: fx.GraphModule, size: int | None) -> onnx.ModelProto:
    """Translate a deploy graph into a float32 model; every tensor is called after the node that makes it.

    Raises:
        ExportError: an operation that is not translated here.
    """
    constants: dict[str, NDArray[np.generic]] = {}
    operations = [node for node in graph.graph.nodes if node.op in ("call_module", "call_function")]
    nodes = [_translate(graph, node, constants) for node in operations]
    side: int | str = "S" if size is None else size
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, side, side]) for name in (IMAGE, RESTORED)]
    given = ends[:1]
    if has_strength(graph):  # an input that also has a first value may be left out
        given = [*given, helper.make_tensor_value_info(STRENGTH, TensorProto.FLOAT, [1])]
        constants[STRENGTH] = np.ones(1, np.float32)
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    body = helper.make_graph(nodes, "restorer", given, ends[1:], weights)
    return make_model(body)


def make_model(body: onnx.GraphProto) -> onnx.ModelProto:
    """Wrap a graph with the opset that all files here share."""
    return helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="pocketface"
    )


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn weights and arithmetic into float16; input and output stay float32 and are cast inside.

    What follows the strength stays float32, so that the image is not rounded: strength 0 gives it back to the bit.
    """
    body = model.graph
    whole = _after_strength(body)
    inner = {IMAGE: f"{IMAGE}_fp16"} | ({} if RESTORED in whole else {RESTORED: f"{RESTORED}_fp16"})
    nodes = [helper.make_node("Cast", [IMAGE], [inner[IMAGE]], f"{IMAGE}_cast", to=TensorProto.FLOAT16)]
    for node in body.node:
        renamed = NodeProto()
        renamed.CopyFrom(node)
        if node.output[0] not in whole:
            renamed.input[:] = [inner.get(name, name) for name in node.input]
            renamed.output[:] = [inner.get(name, name) for name in node.output]
        elif node.op_type == "Mul":  # the one place where half precision meets single
            widened = f"{node.input[0]}_fp32"
            nodes.append(helper.make_node("Cast", [node.input[0]], [widened], f"{widened}_cast", to=TensorProto.FLOAT))
            renamed.input[0] = widened
        nodes.append(renamed)
    if RESTORED in inner:
        nodes.append(helper.make_node("Cast", [inner[RESTORED]], [RESTORED], f"{RESTORED}_cast", to=TensorProto.FLOAT))
    kept = {name for node in body.node if node.output[0] in whole for name in node.input}
    weights = [tensor if tensor.name in kept else _half(tensor) for tensor in body.initializer]
    return make_model(helper.make_graph(nodes, body.name, body.input, body.output, weights))


def _after_strength(body: onnx.GraphProto) -> set[str]:
    """Names of what is computed from the strength."""
    found = {STRENGTH}
    for node in body.node:
        if found.intersection(node.input):
            found.add(node.output[0])
    return found - {STRENGTH}


def _half(tensor: TensorProto) -> TensorProto:
    if tensor.name == _UPSAMPLE_FACTORS:  # Resize takes its factors in float32, whatever it resizes
        return tensor
    return numpy_helper.from_array(to_half(tensor.name, numpy_helper.to_array(tensor)), tensor.name)


_UPSAMPLE_FACTORS = "upsample_factors"


def _translate(graph: fx.GraphModule, node: fx.Node, constants: dict[str, NDArray[np.generic]]) -> NodeProto:
    """Translate one node; weights and other constants that it needs are added to `constants`."""
    module, given = module_of(graph, node), [argument.name for argument in node.args if isinstance(argument, fx.Node)]
    if isinstance(module, nn.Conv2d):
        return _convolution(graph, module, node, constants)
    if isinstance(module, nn.LeakyReLU):
        return helper.make_node("LeakyRelu", given, [node.name], node.name, alpha=float(module.negative_slope))
    if isinstance(module, nn.PixelShuffle):
        return _pixel_shuffle(graph, node, module)
    if isinstance(module, nn.Upsample):
        constants[_UPSAMPLE_FACTORS] = np.array([1, 1, 2, 2], np.float32)
        inputs = [given[0], "", _UPSAMPLE_FACTORS]
        return helper.make_node(
            "Resize", inputs, [node.name], node.name, mode="linear", coordinate_transformation_mode="half_pixel"
        )
    if node.target is operator.add:
        return helper.make_node("Add", given, [node.name], node.name)
    if node.target is operator.mul:
        return helper.make_node("Mul", given, [node.name], node.name)
    if node.target is torch.clamp:
        constants.update(black=np.array(0, np.float32), white=np.array(1, np.float32))
        return helper.make_node("Clip", [given[0], "black", "white"], [node.name], node.name)
    raise ExportError("an operation of the deploy graph", describe(graph, node), "add it to the ONNX writer")


def _pixel_shuffle(graph: fx.GraphModule, node: fx.Node, module: nn.PixelShuffle) -> NodeProto:
    """Mode DCR, the only one that NNAPI and older Core ML providers take; the convolution before it was reordered."""
    source = node.all_input_nodes[0]
    if not isinstance(module_of(graph, source), nn.Conv2d) or shuffle_after(graph, source) == 1:
        expected = "a pixel shuffle that alone reads a convolution, whose channels are reordered for it"
        raise ExportError(expected, describe(graph, node))
    return helper.make_node(
        "DepthToSpace", [source.name], [node.name], node.name, blocksize=module.upscale_factor, mode="DCR"
    )


def _convolution(
    graph: fx.GraphModule, module: nn.Conv2d, node: fx.Node, constants: dict[str, NDArray[np.generic]]
) -> NodeProto:
    inputs = [node.all_input_nodes[0].name]
    weights, bias = convolution_weights(graph, node, module)
    for name, value in (("weight", weights), ("bias", bias)):
        inputs.append(f"{node.target}.{name}")
        constants[inputs[-1]] = value
    top, left = (int(side) for side in module.padding)
    return helper.make_node(
        "Conv", inputs, [node.name], node.name,
        kernel_shape=module.kernel_size, strides=module.stride, dilations=module.dilation, group=module.groups,
        pads=[top, left, top, left],
    )  # fmt: skip
