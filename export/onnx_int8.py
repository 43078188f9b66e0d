"""Turns a float32 ONNX model of the deploy graph into 8 bits, in QDQ form, from ranges measured on real faces.

Weights are int8, one scale an output channel; activations are uint8, one scale and zero point a tensor; biases int32.
Nodes at both ends stay in float32 (`deploy_graph.float_ends_of`): measured ranges clip neither end, and the result has
more than 8 bits. A face that is quantised itself gets scale 1/255, exact for every 8-bit face.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from .deploy_graph import IMAGE
from .quantise import Quantization, per_tensor, quantise_layer, spread

# x86 cores without VNNI add pairs of products u8 * s8 in 16 bits, which saturates beyond 2 * 255 * 64; one bit less in
# the weights keeps the result the same on every machine (ONNX Runtime calls this `reduce_range`).
_WEIGHT_LIMIT = 64
# ONNX Runtime is fastest with uint8 activations; the levels are TFLite's int8 ones, moved.
_UINT8_ZERO = 128
# These move or mix values without leaving their range: one scale on both sides lets them run on the levels themselves.
_KEEPS_RANGE = ("Resize", "DepthToSpace", "Mul")  # a strength is at most 1


def quantise(
    model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]], keep_float: Collection[str]
) -> onnx.ModelProto:
    """Return the 8-bit form of a float32 model from `build_onnx`; `model` is left as it was.

    Args:
        model: its tensors are named as the deploy graph's nodes.
        ranges: low and high of every node's output.
        keep_float: names of nodes that stay as they are.
    """
    body = model.graph
    kept = frozenset(keep_float)
    # Rounded is what an 8-bit node reads or makes; what passes between float nodes keeps all its bits.
    rounded = {name for node in body.node if node.output[0] not in kept for name in (*node.input, *node.output)}
    scales = _activation_scales(body, ranges)
    writer = _Writer({tensor.name: numpy_helper.to_array(tensor) for tensor in body.initializer}, scales, kept)
    if IMAGE in rounded:
        writer.add_activation(IMAGE)
    for node in body.node:
        writer.add(node)
        if node.output[0] in rounded:
            writer.add_activation(node.output[0])
    used = {name for node in writer.nodes for name in node.input}
    weights = [numpy_helper.from_array(value, name) for name, value in writer.constants.items() if name in used]
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    quantised.graph.CopyFrom(helper.make_graph(writer.nodes, body.name, body.input, body.output, weights))
    return quantised


def _activation_scales(body: onnx.GraphProto, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Quantization]:
    scales = {IMAGE: per_tensor(1 / 255, -_UINT8_ZERO)}
    for node in body.node:
        name = node.output[0]
        scales[name] = scales[node.input[0]] if node.op_type in _KEEPS_RANGE else spread(*ranges[name])
    return scales


class _Writer:
    """Collects the nodes and constants of the 8-bit graph; tensor `x` becomes `x_levels` and `x_8bit`."""

    def __init__(
        self, constants: dict[str, NDArray[Any]], scales: Mapping[str, Quantization], kept: Collection[str]
    ) -> None:
        self.nodes: list[NodeProto] = []
        self.constants = constants
        self._scales = scales
        self._kept = kept

    def add(self, node: NodeProto) -> None:
        """Copy an operation; a kept one reads what other kept ones made, and the face, as they are."""
        kept = node.output[0] in self._kept
        whole = {IMAGE, *self._kept} if kept else set()
        copied = NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = [
            f"{name}_8bit" if name in self._scales and name not in whole else name for name in node.input
        ]
        if node.op_type == "Conv" and not kept:
            self._round_layer(node)
        self.nodes.append(copied)

    def add_activation(self, name: str) -> None:
        """Round a float tensor to its levels and back."""
        scale = self._scales[name]
        parameters = [f"{name}_step", f"{name}_zero_point"]
        zero_point = (scale.zero_points + _UINT8_ZERO).astype(np.uint8)
        self.constants.update(zip(parameters, (scale.scales.reshape(()), zero_point.reshape(())), strict=True))
        levels = f"{name}_levels"
        self.nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [levels], f"{name}_quantize"))
        self.nodes.append(
            helper.make_node("DequantizeLinear", [levels, *parameters], [f"{name}_8bit"], f"{name}_dequantize")
        )

    def _round_layer(self, node: NodeProto) -> None:
        """Turn a convolution's weights into 8 bits, and its bias into 32."""
        given, weight, bias = node.input
        layer = quantise_layer(
            self.constants.pop(weight), self.constants.pop(bias), 0, float(self._scales[given].scales[0]), _WEIGHT_LIMIT
        )
        self._add_constant(weight, layer.weights, layer.weight_quantization)
        self._add_constant(bias, layer.bias, layer.bias_quantization)

    def _add_constant(self, name: str, levels: NDArray[Any], quantization: Quantization) -> None:
        parameters = [f"{name}_levels", f"{name}_steps", f"{name}_zero_points"]
        zeros = quantization.zero_points.astype(levels.dtype)
        self.constants.update(zip(parameters, (levels, quantization.scales, zeros), strict=True))
        self.nodes.append(helper.make_node("DequantizeLinear", parameters, [name], f"{name}_dequantize", axis=0))
