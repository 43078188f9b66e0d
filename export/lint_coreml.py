"""The linter's eye for Core ML packages: reading them, and what is known of the Neural Engine's taste."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..runtime.backends.mlpackage import constant_of, read_any_program
from .lint_graph import REFUSED, SLOW, Delegate, DeviceGraph, Operation, Tensor, is_island, module_of_name

_DECODING = ("const", "constexpr_")
_TYPES = {"fp16": "float16", "fp32": "float32"}
# What is known not to run on the Neural Engine; the compiler falls back to GPU or CPU and copies.
_REFUSED = (
    "gather", "gather_nd", "gather_along_axis", "scatter", "scatter_nd", "scatter_along_axis", "lstm", "gru", "rnn",
    "while_loop", "cond", "non_maximum_suppression", "non_zero", "topk", "argsort", "one_hot", "cumsum", "band_part",
    "resample", "affine", "range_1d", "list_read", "list_write",
)  # fmt: skip
_MOVING = ("transpose", "reshape", "slice_by_index", "slice_by_size", "split", "stack", "expand_dims", "squeeze")
_MOST_AXES = 5


def read_graph(path: Path) -> DeviceGraph:
    """Read any ML program; constants and their decoding are left out.

    Raises:
        BackendError: damaged, no ML program, or no coremltools.
    """
    function = read_any_program(path).functions["main"]
    operations = [_operation(one) for one in function.operations if not one.op_type.startswith(_DECODING)]
    inputs = tuple(_tensor(value) for value in function.inputs.values())
    halves = any(tensor.dtype == "float16" for one in operations for tensor in one.outputs)
    return DeviceGraph("coreml", tuple(operations), inputs, "float16" if halves else "float32")


def _operation(operation: Any) -> Operation:
    given, settings = [], {}
    for key, value in operation.inputs.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        given += [_tensor(one) for one in values if constant_of(one) is None]
        if len(values) == 1 and constant_of(values[0]) is not None:
            settings[key] = constant_of(values[0])
    made = tuple(_tensor(value) for value in operation.outputs)
    name = str(operation.name)
    # coremltools renames what it makes float16.
    return Operation(
        str(operation.op_type), name, module_of_name(name.removesuffix("_cast_fp16")), tuple(given), made, settings
    )


def _tensor(value: Any) -> Tensor:
    shape = tuple(side if isinstance(side, int) else -1 for side in map(_side, value.shape or ()))
    kind = str(getattr(value.dtype, "__name__", value.dtype))
    return Tensor(str(value.name), shape, _TYPES.get(kind, kind))


def _side(side: Any) -> Any:
    try:
        return int(side)
    except TypeError:  # a symbol stands for a side that is open
        return None


def _neural_engine(operation: Operation, graph: DeviceGraph) -> Iterator[tuple[str, str]]:
    ranks = [len(tensor.shape or ()) for tensor in (*operation.inputs, *operation.outputs)]
    if max(ranks, default=0) > _MOST_AXES:
        yield REFUSED, f"a tensor of {max(ranks)} axes; it knows at most {_MOST_AXES}"
    elif max(ranks, default=0) == _MOST_AXES:
        yield SLOW, "a tensor of five axes; it is laid out for four (N, C, H, W)"
    if operation.kind in _REFUSED:
        yield REFUSED, f"{operation.kind} runs on GPU or CPU"
    if operation.kind == "select":
        yield SLOW, "a choice by mask costs three whole tensors; express it by minimum, maximum or leaky_relu"
    if operation.kind == "conv" and max(int(step) for step in operation.settings.get("dilations", (1,))) > 1:
        yield REFUSED, "a dilated convolution"
    if operation.kind in _MOVING:
        yield SLOW, "copies a whole tensor through memory"
    halves = [all(tensor.dtype == "float16" for tensor in other.outputs) for other in graph.operations]
    if operation.kind != "cast" and is_island(operation, graph, halves):
        yield REFUSED, "computes in float32 between float16 nodes; the Neural Engine knows float16 alone"


def _not_single(graph: DeviceGraph) -> str:
    return "" if graph.arithmetic == "float16" else "it computes in float16: a float32 program runs on GPU and CPU"


DELEGATES = (
    Delegate(
        "ane", "Apple's Neural Engine",
        "hollance/neural-engine unsupported-layers.md (CC BY 4.0); Apple, Deploying Transformers on the ANE, 2022",
        _neural_engine, _not_single,
    ),
)  # fmt: skip
