"""What the delegate linter sees of a device file, whatever its format, and what it says about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

# A refused node splits the part that an accelerator runs; a slow one stays but costs more than it should; one at an
# edge is refused too, yet before the first or behind the last accepted node, so that the part stays whole; a note is
# something that the application must set.
REFUSED, SLOW, EDGE, NOTE = "refused", "slow", "edge", "note"
SEVERITIES = (REFUSED, SLOW, EDGE, NOTE)

_MOST_AXES = 4


@dataclass(frozen=True)
class Tensor:
    """One edge of a device graph.

    Args:
        name: as the file calls it.
        shape: sides, -1 where open; None where the file does not say.
        dtype: numpy's name of the type.
        constant: whether its values stand in the file.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    constant: bool = False


@dataclass(frozen=True)
class Operation:
    """One node of a device graph.

    Args:
        kind: the format's own word, for example `CONV_2D` or `LeakyRelu`.
        name: of the node, or of its first output where nodes have no names.
        module: where in the network it comes from, as a dotted path; empty at the network's top level.
        inputs, outputs: tensors in the format's order.
        settings: attributes that rules ask for.
        version: of the operator, where the format counts versions.
    """

    kind: str
    name: str
    module: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    @property
    def fed(self) -> tuple[Tensor, ...]:
        """The inputs that are computed."""
        return tuple(tensor for tensor in self.inputs if not tensor.constant)


@dataclass(frozen=True)
class DeviceGraph:
    """A device file's operations in the order in which they run.

    Args:
        format: `tflite`, `onnx` or `coreml`.
        operations: without constants and their decoding.
        inputs: what the application gives.
        arithmetic: `float32`, `float16`, `int8` (weights and activations), or `hybrid` (8-bit weights, float
            activations that are quantised as they come).
    """

    format: str
    operations: tuple[Operation, ...]
    inputs: tuple[Tensor, ...]
    arithmetic: str

    def histogram(self) -> Counter[str]:
        """How often each kind of operation occurs."""
        return Counter(operation.kind for operation in self.operations)

    @cached_property
    def before(self) -> tuple[frozenset[int], ...]:
        """For each operation, by number, all that it depends on."""
        makers = {tensor.name: i for i, operation in enumerate(self.operations) for tensor in operation.outputs}
        found: list[frozenset[int]] = []
        for operation in self.operations:
            direct = {makers[tensor.name] for tensor in operation.inputs if tensor.name in makers}
            found.append(frozenset(direct.union(*(found[i] for i in direct))))
        return tuple(found)

    @cached_property
    def after(self) -> tuple[frozenset[int], ...]:
        """For each operation, by number, all that depends on it."""
        count = range(len(self.operations))
        return tuple(frozenset(j for j in count if i in self.before[j]) for i in count)


# An operation in its graph -> severity and reason of everything that is wrong with it.
Check: TypeAlias = Callable[[Operation, DeviceGraph], Iterator[tuple[str, str]]]


@dataclass(frozen=True)
class Delegate:
    """An accelerator's way into a runtime, and what is known of its taste.

    Args:
        name: for the command line.
        what: for people.
        source: where its rules are written down.
        check: what it does with an operation.
        declines: why a whole file is not for it, in words, empty where it is: such a file gets no findings.
        remark: what an application must set before it takes the file; empty for nothing.
    """

    name: str
    what: str
    source: str
    check: Check
    declines: Callable[[DeviceGraph], str] = lambda _: ""
    remark: Callable[[DeviceGraph], str] = lambda _: ""


@dataclass(frozen=True)
class Finding:
    """One node that one delegate will not run, or not run well.

    Args:
        delegate: its name.
        severity: `refused`, `slow`, `edge` or `note`.
        kind, node, module: see `Operation`; empty for a note on the whole file.
        reason: in words.
        source: of the rule.
    """

    delegate: str
    severity: str
    kind: str
    node: str
    module: str
    reason: str
    source: str


def words(text: str) -> frozenset[str]:
    """The words of a text: lists of operators read best as such."""
    return frozenset(text.split())


def module_of_name(name: str) -> str:
    """The dotted path of the module that a node of ours comes from: `encoder_0_0_conv_pw` is `encoder.0.0.conv_pw`.

    Node names are module paths with underscores (`deploy_graph`); underscores beside a number were dots. An addition
    belongs to the module that adds.
    """
    head = re.sub(r"(^|_)add(_\d+)?$", "", name)
    dotted = re.sub(r"_(?=\d+(_|$))", ".", head)
    return re.sub(r"(\.\d+)_", r"\1.", dotted)


def common_faults(operation: Operation) -> Iterator[tuple[str, str]]:
    """What every delegate minds: more than four axes, and sides that are open."""
    tensors = [*operation.inputs, *operation.outputs]
    ranks = [len(tensor.shape) for tensor in tensors if tensor.shape is not None]
    if ranks and max(ranks) > _MOST_AXES:
        yield REFUSED, f"a tensor of {max(ranks)} axes; accelerators know four (N, H, W, C)"
    if any(-1 in (tensor.shape or ()) for tensor in operation.fed):
        yield REFUSED, "a shape that is not fixed, so that the accelerator cannot plan its memory"


def is_island(operation: Operation, graph: DeviceGraph, levels: Sequence[bool]) -> bool:
    """Whether an operation computes in float between others that compute in 8 bits.

    Args:
        operation: of the graph.
        graph: an 8-bit one.
        levels: for each operation, by number, whether it computes in 8 bits.
    """
    number = graph.operations.index(operation)
    if levels[number]:
        return False
    return any(levels[i] for i in graph.before[number]) and any(levels[i] for i in graph.after[number])


def find(graph: DeviceGraph, delegate: Delegate) -> list[Finding]:
    """Judge every operation of a graph by one delegate's rules."""
    rows = [(i, *fault) for i, operation in enumerate(graph.operations) for fault in delegate.check(operation, graph)]
    refused = {i for i, severity, _ in rows if severity == REFUSED}
    kept = set(range(len(graph.operations))) - refused
    findings = []
    for i, severity, reason in rows:
        whole = not (graph.before[i] & kept) or not (graph.after[i] & kept)
        shown = EDGE if severity == REFUSED and kept and whole else severity
        operation = graph.operations[i]
        findings.append(
            Finding(delegate.name, shown, operation.kind, operation.name, operation.module, reason, delegate.source)
        )
    remark = delegate.remark(graph)
    if remark:
        findings.append(Finding(delegate.name, NOTE, "", "", "", remark, delegate.source))
    return findings
