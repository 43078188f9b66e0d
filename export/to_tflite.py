"""Writes traced networks as TFLite files: the deploy graph for `write_tflite`, any small network for the other door.

Images are NHWC inside and at both ends of the file. Every file carries a signature, a description and plain JSON
metadata, and loads on runtimes back to TFLite 2.7.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from ..runtime.atomic import replacing_file
from ..runtime.errors import ExportError
from .deploy_graph import find_nodes, float_ends_of, has_strength, weights_sha256
from .quantise import Quantization, per_tensor
from .tflite_builder import TFLiteBuilder
from .tflite_lowering import Lowering, Shape, assign_scales
from .tflite_ops import lower
from .tflite_versions import oldest_runtime

if TYPE_CHECKING:
    from .calibration import ActivationRanges

PRECISIONS = ("fp32", "fp16", "dynamic8", "int8")
IMAGE_IO = ("float32", "uint8")
SIGNATURE = "restore"
# TFLite's own convention for the metadata entry `min_runtime_version`.
_VERSION_BYTES = 16
_GREY_LEVELS = per_tensor(1 / 255, 0)
# A second run at other sizes shows which dimensions follow the open ones; even, so that strides of 2 stay whole.
_OTHER_SIZE = 16


@dataclass(frozen=True)
class Labels:
    """What a file says of itself.

    Args:
        signature: the name under which applications call the network.
        outputs: names of the outputs in order; None takes the nodes' names.
        description: a sentence shown by model viewers.
        facts: goes into the file as JSON metadata, under the name `pocketface`.
    """

    signature: str = "serving_default"
    outputs: tuple[str, ...] | None = None
    description: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def write_tflite(
    graph: fx.GraphModule,
    size: int,
    precision: str,
    path: Path,
    ranges: ActivationRanges | None = None,
    image_io: str = "float32",
    facts: Mapping[str, str] | None = None,
    keep_float: Collection[str] | None = None,
) -> None:
    """Write a restorer as a TFLite file with signature `restore`: `image`, `strength` -> `restored`.

    Images are (1, S, S, 3) RGB; the strength is (1,), of the images' type: 1, or level 255, restores in full.

    Args:
        graph: from `build_deploy_graph`.
        size: S, fixed in the file.
        precision: `fp32`; `fp16`, weights stored in half precision and widened on loading; `dynamic8`, 8-bit weights
            under float activations; `int8`, weights and arithmetic.
        path: the destination.
        ranges: measured on this graph; `int8` needs them.
        image_io: `float32` in [0, 1], or `uint8` grey levels.
        facts: more metadata, or other values for `author`, `licence` and `description`.
        keep_float: names of nodes that an int8 file computes in float; None takes `float_ends_of(graph)`, and an empty
            list none, for processors without floats.

    Raises:
        ExportError: an operation that the format lacks, an unknown precision, or ranges missing or of another network.
        OutputError: the place cannot be written to.
    """
    if precision == "int8" and ranges is None:
        raise ExportError("activation ranges for int8", "none", "measure them with observe_ranges()")
    digest = weights_sha256(graph)
    if ranges is not None:
        ranges.check(graph)
    own = {
        "author": "PocketFace",
        "licence": "Apache-2.0",
        "description": f"PocketFace face restorer, {precision}, {size} x {size}",
        "contract": f"aligned face (1, {size}, {size}, 3) RGB {image_io}, [0, {255 if image_io == 'uint8' else 1}]",
        "precision": precision,
        "weights_sha256": digest,
    }
    told = {**own, **(facts or {})}
    labels = Labels(SIGNATURE, ("restored",), told["description"], told)
    shapes: list[tuple[int, ...]] = [(1, 3, size, size)]
    write_tflite_graph(
        graph, [*shapes, (1,)] if has_strength(graph) else shapes, path,
        precision=precision, ranges=None if ranges is None else ranges.values, image_io=image_io, labels=labels,
        keep_float=float_ends_of(graph) if keep_float is None else keep_float,
    )  # fmt: skip


def write_tflite_graph(
    graph: fx.GraphModule,
    input_shapes: Sequence[Sequence[int]],
    path: Path,
    *,
    open_axes: Sequence[int] = (),
    precision: str = "fp32",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    image_io: str = "float32",
    labels: Labels | None = None,
    keep_float: Collection[str] = (),
) -> None:
    """Write any traced network that the operators of `tflite_ops` cover.

    Args:
        graph: from `deploy_graph.trace`; its output is one node or a tuple of nodes.
        input_shapes: of each input in PyTorch's order, (N, C, H, W) or (N, C); in the file images are (N, H, W, C).
        path: the destination.
        open_axes: axes of PyTorch's order, of every input, that `resize_tensor_input` may change later.
        precision: `fp32`, `fp16` or `int8`.
        ranges: low and high of every node's output, for `int8`.
        image_io: type of inputs and outputs; `uint8` stands for values in [0, 1] times 255.
        labels: names and metadata.
        keep_float: names of nodes that an int8 file computes in float.

    Raises:
        ExportError: an operation or setting that has no operator, or an unknown precision.
        OutputError: the place cannot be written to.
    """
    for value, known in ((precision, PRECISIONS), (image_io, IMAGE_IO)):
        if value not in known:
            raise ExportError(f"one of {', '.join(known)}", f"'{value}'")
    shapes = record_shapes(graph, input_shapes, open_axes)
    scales = assign_scales(graph, ranges or {}) if precision == "int8" else {}
    kept = frozenset(find_nodes(graph, keep_float))
    state = Lowering(graph, TFLiteBuilder(), shapes, precision, scales, kept)
    content = _write(state, image_io, labels or Labels())
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


def record_shapes(
    graph: fx.GraphModule, input_shapes: Sequence[Sequence[int]], open_axes: Sequence[int] = ()
) -> dict[fx.Node, Shape]:
    """Run a graph on zeros, and again at other sizes where axes are open, to learn every node's shape."""
    first = _run_shapes(graph, input_shapes)
    if not open_axes:
        return {node: Shape(sizes, sizes) for node, sizes in first.items()}
    grown = [[n + _OTHER_SIZE * (i in open_axes) for i, n in enumerate(shape)] for shape in input_shapes]
    second = _run_shapes(graph, grown)
    return {
        node: Shape(sizes, tuple(n if n == other else -1 for n, other in zip(sizes, second[node], strict=True)))
        for node, sizes in first.items()
    }


def _run_shapes(graph: fx.GraphModule, input_shapes: Sequence[Sequence[int]]) -> dict[fx.Node, tuple[int, ...]]:
    recorder = _ShapeRecorder(graph)
    try:
        with torch.no_grad():
            recorder.run(*(torch.zeros(*shape) for shape in input_shapes))
    except Exception as error:  # a forward pass may raise anything
        raise ExportError("a graph that runs on the input shapes", f"{[*input_shapes]}: {error}") from error
    return recorder.shapes


class _ShapeRecorder(fx.Interpreter):
    """Remembers each node's output shape in TFLite's order."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # the caller makes one line of what goes wrong
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            sizes = tuple(result.shape)
            self.shapes[n] = (sizes[0], *sizes[2:], sizes[1]) if len(sizes) == 4 else sizes
        return result


def _write(state: Lowering, image_io: str, labels: Labels) -> bytes:
    inputs: dict[str, int] = {}
    outputs: list[fx.Node] = []
    for node in state.graph.graph.nodes:
        if node.op == "placeholder":
            inputs[node.name] = _add_input(state, node, image_io)
        elif node.op == "output":
            outputs = [node.args[0]] if isinstance(node.args[0], fx.Node) else list(node.args[0])
        else:
            lower(state, node)
    names = labels.outputs or tuple(node.name for node in outputs)
    if len(names) != len(outputs):
        raise ExportError(f"{len(outputs)} names of outputs", f"{len(names)}: {', '.join(names)}")
    ends = {name: _add_output(state, node, name, image_io) for name, node in zip(names, outputs, strict=True)}
    oldest = oldest_runtime(state.builder.operators()).encode()
    state.builder.metadata("min_runtime_version", oldest.ljust(_VERSION_BYTES, b"\0"))
    facts = json.dumps(dict(labels.facts), sort_keys=True, ensure_ascii=False)
    state.builder.metadata("pocketface", facts.encode())
    return state.builder.to_bytes(labels.description, labels.signature, inputs, ends)


def _add_input(state: Lowering, node: fx.Node, image_io: str) -> int:
    """Add an input tensor; where the network computes in another type, whoever reads it converts it."""
    if image_io == "uint8":
        state.tensors[node] = _end(state, node, node.name, image_io)
        state.raw.add(node)
    else:
        state.tensors[node] = state.add_output(node, levels=False)
    return state.tensors[node]


def _add_output(state: Lowering, node: fx.Node, name: str, image_io: str) -> int:
    """Return the tensor that the file gives for a node, converted where the network computes in another type."""
    levels = state.in_levels(node)
    if image_io == "float32" and not levels:
        return state.tensors[node]
    end = _end(state, node, f"{name}_out", image_io)
    kind, version = ("DEQUANTIZE", 2) if image_io == "float32" else ("QUANTIZE", 1)
    state.builder.operator(kind, version, [state.tensors[node]], [end])
    return end


def _end(state: Lowering, node: fx.Node, name: str, image_io: str) -> int:
    shape = state.shapes[node]
    signature = shape.signature if -1 in shape.signature else None
    scale: Quantization | None = _GREY_LEVELS if image_io == "uint8" else None
    return state.builder.tensor(name, shape.sizes, np.uint8 if image_io == "uint8" else np.float32, scale, signature)
