"""Measures the range of every activation on real degraded faces: what 8-bit files spread their levels over.

Quantiles instead of extremes, so that single outliers cost the other values none of their levels; but far out, because
a residual restorer's largest activations are its edges, and clipping those is seen (measured: docs/experiments.md). The
image at both ends keeps its true range, [0, 1], because clipping there shows as lost highlights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from ..runtime.atomic import replacing_file
from ..runtime.errors import ExportError
from ..runtime.faces.degrade import degrade_face
from ..runtime.images import to_faces
from ..runtime.restorer import STRENGTH, Faces, check_faces
from .deploy_graph import IMAGE, RESIDUAL, RESTORED, weights_sha256

FORMAT = "pocketface-ranges-1"
HALF_LIMIT = 65504.0
LOW_QUANTILE, HIGH_QUANTILE = 0.00001, 0.99999
# Fine against the 255 levels that the range between the quantiles gets, even where outliers stretch the extremes.
_BINS = 8192
_BATCH = 4
# What faces are degraded with for calibration, in turn: what the network will meet.
_LEVELS = ("mild", "medium", "severe")


@dataclass(frozen=True)
class ActivationRanges:
    """The range of every node's output on calibration faces.

    Args:
        values: name of the node in the deploy graph -> (low, high); `image` and `restored` are (0, 1).
        weights_sha256: of the graph they were measured on, see `deploy_graph.weights_sha256`.
        provenance: one sentence on the faces, their number, their degradation and their licence.
        quantiles: the shares of values below low and below high.
    """

    values: Mapping[str, tuple[float, float]]
    weights_sha256: str
    provenance: str
    quantiles: tuple[float, float] = (LOW_QUANTILE, HIGH_QUANTILE)

    def check(self, graph: fx.GraphModule) -> None:
        """Make sure that these ranges were measured on this graph with these weights.

        Raises:
            ExportError: they were not, or a node has none.
        """
        digest = weights_sha256(graph)
        if digest != self.weights_sha256:
            raise ExportError(
                f"activation ranges of the weights {digest[:12]}",
                f"ranges of {self.weights_sha256[:12]}",
                "measure them again on this network (--calibration)",
            )
        # The strength is known to lie in [0, 1], and what it multiplies gets no wider.
        known = {*self.values, STRENGTH, RESIDUAL}
        missing = [node.name for node in graph.graph.nodes if node.op != "output" and node.name not in known]
        if missing:
            raise ExportError("a range of every node", f"none of {', '.join(missing[:5])}", "measure them again")

    def save(self, path: Path) -> None:
        """Write the ranges as JSON.

        Raises:
            OutputError: the place cannot be written to.
        """
        content = {
            "format": FORMAT,
            "weights_sha256": self.weights_sha256,
            "provenance": self.provenance,
            "quantiles": list(self.quantiles),
            "ranges": {name: list(pair) for name, pair in self.values.items()},
        }
        with replacing_file(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> ActivationRanges:
        """Read what `save` wrote.

        Raises:
            ExportError: not such a file, or ranges that are no ranges.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")  # noqa: TRY301 - one message for all that is wrong
            values = {str(name): _checked(pair) for name, pair in content["ranges"].items()}
            low, high = _checked(content["quantiles"])
            return cls(values, str(content["weights_sha256"]), str(content["provenance"]), (low, high))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportError(
                f"a file of activation ranges, {FORMAT}", f"{path}: {error}", "measure them again"
            ) from error


def observe_ranges(
    graph: fx.GraphModule,
    faces: Faces,
    provenance: str,
    quantiles: tuple[float, float] = (LOW_QUANTILE, HIGH_QUANTILE),
) -> ActivationRanges:
    """Run a deploy graph over faces and measure the range of every node's output.

    Two passes: extremes first, then a histogram of each node between them, so that memory does not grow with N.

    Args:
        graph: from `build_deploy_graph`.
        faces: (N, 3, S, S) float32 RGB in [0, 1]; real degraded faces, a few dozen.
        provenance: one sentence on where the faces come from.
        quantiles: the shares of values below low and below high.

    Raises:
        ContractError: faces outside the contract.
        ExportError: activations that are not finite.
    """
    check_faces(faces)
    extremes = _Extremes(graph)
    _run(extremes, faces)
    histograms = _Histograms(graph, extremes.values)
    _run(histograms, faces)
    values = {name: histograms.quantiles(name, quantiles) for name in extremes.values}
    values |= {IMAGE: (0.0, 1.0), RESTORED: (0.0, 1.0)}
    return ActivationRanges(values, weights_sha256(graph), provenance, quantiles)


def check_half_range(graph: fx.GraphModule, faces: Faces) -> None:
    """Make sure that half precision can hold every activation.

    An engine that computes a float16 file in float32, as ONNX Runtime does on CPUs, would not notice; a phone would.

    Raises:
        ContractError: faces outside the contract.
        ExportError: an activation beyond 65504; names the worst node.
    """
    check_faces(faces)
    extremes = _Extremes(graph)
    _run(extremes, faces)
    node, (low, high) = max(extremes.values.items(), key=lambda item: max(abs(side) for side in item[1]))
    if max(abs(low), abs(high)) > HALF_LIMIT:
        raise ExportError(
            f"activations within float16, below {HALF_LIMIT:g}", f"{low:g} to {high:g} at node {node}",
            "leave fp16 and Core ML out, or train again",
        )  # fmt: skip


def degrade_for_calibration(crops: Iterator[NDArray[np.uint8]] | list[NDArray[np.uint8]], seed: int = 0) -> Faces:
    """Turn aligned crops, (S, S, 3) uint8 RGB, into calibration faces, mild, medium and severe in turn.

    Args:
        crops: clean aligned faces of one size.
        seed: of the first crop; the next gets the next.

    Raises:
        ExportError: no crops, or crops of several sizes.
    """
    degraded = [degrade_face(crop, _LEVELS[i % len(_LEVELS)], seed + i) for i, crop in enumerate(crops)]
    if len({face.shape for face in degraded}) != 1:
        raise ExportError("aligned faces of one size", f"{len(degraded)} of {len({f.shape for f in degraded})} sizes")
    return to_faces(degraded)


class _Observer(fx.Interpreter):
    """Shows every node's output to `observe`."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # errors raised here say enough in one line

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op != "output" and isinstance(result, Tensor):  # a strength that is left out is a plain 1
            self.observe(n.name, result)
        return result

    def observe(self, name: str, values: Tensor) -> None:
        """Take note of one output."""
        raise NotImplementedError


class _Extremes(_Observer):
    """The smallest and largest value of every node."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.values: dict[str, tuple[float, float]] = {}

    def observe(self, name: str, values: Tensor) -> None:
        low, high = (float(value) for value in values.aminmax())
        if not np.isfinite([low, high]).all():
            raise ExportError("finite activations", f"{low} to {high} at node {name}", "the weights are broken")
        seen = self.values.get(name, (low, high))
        self.values[name] = (min(low, seen[0]), max(high, seen[1]))


class _Histograms(_Observer):
    """How the values of every node are spread between its extremes."""

    def __init__(self, graph: fx.GraphModule, extremes: Mapping[str, tuple[float, float]]) -> None:
        super().__init__(graph)
        self._extremes = extremes
        self._counts = {name: np.zeros(_BINS) for name in extremes}

    def observe(self, name: str, values: Tensor) -> None:
        low, high = self._extremes[name]
        if low < high:
            self._counts[name] += torch.histc(values, _BINS, low, high).numpy()

    def quantiles(self, name: str, shares: tuple[float, float]) -> tuple[float, float]:
        """The values below which the given shares lie, interpolated within a bin."""
        low, high = self._extremes[name]
        if low == high:
            return low, high
        below = np.concatenate([[0.0], np.cumsum(self._counts[name])])
        edges = np.linspace(low, high, _BINS + 1)
        first, last = np.interp(np.array(shares) * below[-1], below, edges)
        return float(first), float(last)


def _run(observer: _Observer, faces: Faces) -> None:
    with torch.no_grad():
        for start in range(0, len(faces), _BATCH):
            observer.run(torch.from_numpy(faces[start : start + _BATCH]))


def _checked(pair: Any) -> tuple[float, float]:
    low, high = (float(value) for value in pair)
    if not (np.isfinite([low, high]).all() and low <= high):
        raise ValueError(f"{pair} is not a range")
    return low, high
