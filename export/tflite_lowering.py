"""What the TFLite operators share while a graph is written: tensors, shapes, precision, scales."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import fx, nn

from ..runtime.errors import ExportError
from ..runtime.restorer import STRENGTH
from .deploy_graph import describe, module_of
from .quantise import Quantization, spread, to_half
from .tflite_builder import TFLiteBuilder

# Lowest versions that know the use made of each operator, in float and in int8.
_VERSIONS = {
    "ADD": (1, 2),
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "DEPTH_TO_SPACE": (1, 2),
    "FULLY_CONNECTED": (1, 4),
    "LEAKY_RELU": (1, 1),
    "MAX_POOL_2D": (1, 2),
    "MINIMUM": (1, 2),
    "MUL": (1, 2),
    "PAD": (1, 2),
    "PRELU": (1, 1),
    "RELU": (1, 2),
    "RESHAPE": (1, 1),
    "RESIZE_BILINEAR": (3, 3),  # 3 is the first with half-pixel centres
    "SOFTMAX": (1, 2),
}
# 8-bit weights under float activations, one scale a channel.
_HYBRID_VERSIONS = {"CONV_2D": 5}
# One scale on both sides: the kernels move or mix levels as they are.
_KEEPS_SCALE = (nn.Upsample, nn.PixelShuffle, nn.MaxPool2d)


@dataclass(frozen=True)
class Shape:
    """A tensor's shape in TFLite's order.

    Args:
        sizes: (N, H, W, C), or (N, C) where there are no rows and columns.
        signature: the same with -1 for dimensions that the caller may change.
    """

    sizes: tuple[int, ...]
    signature: tuple[int, ...]


@dataclass
class Lowering:
    """A graph that is being written.

    Args:
        graph: the network.
        builder: what it is written to.
        shapes: of every node's output.
        precision: `fp32`, `fp16` (stored so, computed in float32), `dynamic8` (weights alone are levels) or `int8`.
        scales: of every node's output for int8; empty otherwise.
        kept: nodes of an int8 file that compute in float nevertheless.
        tensors: of the nodes already written; a node fused into another shares its tensor.
        raw: nodes whose tensor is the file's own input of another type, converted where it is read.
        converted: of nodes read in the other arithmetic than their own: as levels, or as float.
        fused: activations already computed by the operator before them.
        flattened: (C, H, W) of the image that a node's vector was made from.
    """

    graph: fx.GraphModule
    builder: TFLiteBuilder
    shapes: Mapping[fx.Node, Shape]
    precision: str
    scales: Mapping[fx.Node, Quantization]
    kept: frozenset[fx.Node] = frozenset()
    tensors: dict[fx.Node, int] = field(default_factory=dict)
    raw: set[fx.Node] = field(default_factory=set)
    converted: dict[tuple[fx.Node, bool], int] = field(default_factory=dict)
    fused: set[fx.Node] = field(default_factory=set)
    flattened: dict[fx.Node, tuple[int, int, int]] = field(default_factory=dict)

    def in_levels(self, node: fx.Node) -> bool:
        """Whether a node computes in 8 bits; what is given to the file does not compute."""
        return self.precision == "int8" and node.op != "placeholder" and node not in self.kept

    def add_output(
        self, node: fx.Node, suffix: str = "", shape: Shape | None = None, *, levels: bool | None = None
    ) -> int:
        """Add the tensor that a node computes (or, with a suffix, one on the way to it or from it)."""
        shape = shape or self.shapes[node]
        levels = self.in_levels(node) if levels is None else levels
        signature = shape.signature if -1 in shape.signature else None
        scale = self.scales.get(node) if levels else None
        return self.builder.tensor(node.name + suffix, shape.sizes, np.int8 if levels else np.float32, scale, signature)

    def read(self, source: fx.Node, reader: fx.Node) -> int:
        """The tensor of a node in the arithmetic of the node that reads it, converted once where the two differ."""
        levels = self.in_levels(reader)
        if source not in self.raw and self.in_levels(source) == levels:
            return self.tensors[source]
        if (source, levels) not in self.converted:
            made = self.add_output(source, "_int8" if levels else "_float32", levels=levels)
            version = 1 if levels or source in self.raw else 2
            self.builder.operator("QUANTIZE" if levels else "DEQUANTIZE", version, [self.tensors[source]], [made])
            self.converted[source, levels] = made
        return self.converted[source, levels]

    def add_weights(self, name: str, values: NDArray[np.float32]) -> int:
        """Add float weights, for fp16 in half precision with the operator that widens them."""
        if self.precision != "fp16":
            return self.builder.constant(name, values)
        stored = self.builder.constant(f"{name}_fp16", to_half(name, values))
        widened = self.builder.tensor(name, values.shape, np.float32)
        self.builder.operator("DEQUANTIZE", 3, [stored], [widened])
        return widened

    def compute(self, node: fx.Node, name: str, inputs: Sequence[int], options: Any | None = None) -> None:
        """Append the operator that computes a node."""
        output = self.add_output(node)
        self.append(node, name, inputs, output, options)
        self.tensors[node] = output

    def append(self, node: fx.Node, name: str, inputs: Sequence[int], output: int, options: Any | None = None) -> None:
        """Append an operator that writes to a tensor, on behalf of a node."""
        version = _VERSIONS[name][self.in_levels(node)]
        if self.precision == "dynamic8":
            version = _HYBRID_VERSIONS.get(name, version)
        self.builder.operator(name, version, inputs, [output], options)

    def input_of(self, node: fx.Node) -> int:
        """The tensor of a node's first input."""
        return self.read(node.all_input_nodes[0], node)

    def fuse_activation(self, node: fx.Node) -> int:
        """Take over the ReLU that alone reads a node, where there is one, and return TFLite's number for it."""
        user = activation_after(self.graph, node)
        if user is None or (self.in_levels(node) and is_unit_clamp(user)) or (node in self.kept) != (user in self.kept):
            return schema.ActivationFunctionType.NONE
        self.fused.add(user)
        return schema.ActivationFunctionType.RELU

    def refuse(self, node: fx.Node, expected: str, fix: str = "") -> ExportError:
        """The error for a node that cannot be written."""
        return ExportError(expected, describe(self.graph, node), fix)


def is_unit_clamp(node: fx.Node) -> bool:
    """Whether a node clamps to [0, 1]."""
    return node.target is torch.clamp and tuple(node.args[1:]) == (0.0, 1.0) and not node.kwargs


def activation_after(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The ReLU or unit clamp that is the only reader of a node."""
    if len(node.users) != 1:
        return None
    user = next(iter(node.users))
    return user if is_unit_clamp(user) or isinstance(module_of(graph, user), nn.ReLU) else None


def assign_scales(graph: fx.GraphModule, ranges: Mapping[str, tuple[float, float]]) -> dict[fx.Node, Quantization]:
    """Give every node its int8 scale and zero point.

    An output that is clamped to [0, 1] gets just these as its range: the levels end where the clamp does, and the
    addition before it already saturates there.

    Args:
        graph: the network.
        ranges: low and high of every node's output, by name.

    Raises:
        ExportError: a node without a range.
    """
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    ranges = {STRENGTH: (0.0, 1.0), **ranges}
    missing = [node.name for node in nodes if node.name not in ranges and node.target is not operator.mul]
    if missing:
        raise ExportError("a range of every node", f"none of {', '.join(missing[:5])}", "measure ranges on this graph")
    scales: dict[fx.Node, Quantization] = {}
    for node in nodes:
        # A factor of at most 1 keeps the scale, and a factor of 1 every level.
        if isinstance(module_of(graph, node), _KEEPS_SCALE) or node.target is operator.mul:
            scales[node] = scales[node.all_input_nodes[0]]
            continue
        decisive = activation_after(graph, node) or node
        scales[node] = spread(*((0.0, 1.0) if is_unit_clamp(decisive) else ranges[decisive.name]))
    return scales
