"""What rounding each layer costs: a deploy graph computed in PyTorch with chosen layers in 8 bits.

Weights and activations are rounded as `quantise` does for the files and everything else stays float32, so that one
layer's damage can be told from another's. Sums inside a layer are exact here; 8-bit engines round them once more, which
costs them about as much as one activation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..runtime.metrics import psnr, snr_of_residual
from ..runtime.restorer import STRENGTH, Faces, check_faces
from .calibration import HALF_LIMIT, ActivationRanges
from .deploy_graph import IMAGE, RESTORED, module_of, tail_of
from .lint_graph import module_of_name
from .quantise import Quantization, quantise_layer
from .tflite_lowering import assign_scales

_LOWEST, _HIGHEST = -128, 127
# These move or mix values of one range: they are rounded to the levels of what they read.
_KEEPS_SCALE = (nn.Upsample, nn.PixelShuffle)
_BATCH = 4


@dataclass(frozen=True)
class Fidelity:
    """A copy of a network against the network itself, over faces.

    Args:
        min_psnr_db, mean_psnr_db: peak 1.0; of the worst face, and their mean.
        min_snr_db, mean_snr_db: of the residual: what the network changes, over the copy's error.
    """

    min_psnr_db: float
    mean_psnr_db: float
    min_snr_db: float
    mean_snr_db: float


@dataclass(frozen=True)
class LayerAudit:
    """One node of a network, measured.

    Args:
        node, module: its name, and where in the network it stands.
        kind: `Conv2d`, `LeakyReLU`, `add`, ...
        low, high: extremes of its output on the faces.
        half_headroom: 65504 over the largest magnitude of its output: below 1 half precision overflows.
        sum_headroom: for a convolution, 65504 over the largest sum of magnitudes that any order of adding in half
            precision can meet; None for others.
        weights: the whole network's fidelity where only this node's weights are rounded to 8 bits; None without any.
        activations: the same where only its output is; None where that is no rounding of its own.
        both: the same where both are: what keeping this node float could regain.
    """

    node: str
    module: str
    kind: str
    low: float
    high: float
    half_headroom: float
    sum_headroom: float | None
    weights: Fidelity | None
    activations: Fidelity | None
    both: Fidelity


class Simulation:
    """A deploy graph and faces, ready to be computed with any of its nodes rounded.

    Args:
        graph: from `build_deploy_graph`.
        faces: (N, 3, S, S) float32 RGB in [0, 1], real degraded faces.
        ranges: measured on this graph.

    Raises:
        ContractError: faces outside the contract.
        ExportError: ranges of another network.
    """

    def __init__(self, graph: fx.GraphModule, faces: Faces, ranges: ActivationRanges) -> None:
        check_faces(faces)
        ranges.check(graph)
        self.graph, self.faces = graph, faces
        self._scales = {node.name: scale for node, scale in assign_scales(graph, ranges.values).items()}
        self._nodes = [node for node in graph.graph.nodes if node.op in ("call_module", "call_function")]
        self._weights = {node: weights for node in self._nodes if (weights := self._rounded_weights(node)) is not None}
        with torch.no_grad():
            self._exact = [self._compute(given, {}, (), ()) for given in torch.from_numpy(faces).split(_BATCH)]
        self.reference = self._gather([batch[RESTORED] for batch in self._exact])

    @property
    def names(self) -> list[str]:
        """Of all computing nodes, in order."""
        return [node.name for node in self._nodes]

    def run(self, weights: Collection[str], activations: Collection[str]) -> Fidelity:
        """Compute with the named nodes' weights and outputs rounded, and compare with the exact network."""
        first = next((i for i, node in enumerate(self._nodes) if node.name in {*weights, *activations}), 0)
        before = [node.name for node in self._nodes[:first]]
        found = []
        with torch.no_grad():
            for given, exact in zip(torch.from_numpy(self.faces).split(_BATCH), self._exact, strict=True):
                known = {name: exact[name] for name in before}
                found.append(self._compute(given, known, weights, activations)[RESTORED])
        copy = self._gather(found)
        decibels, residual = psnr(self.reference, copy), snr_of_residual(self.reference, copy, self.faces)
        return Fidelity(*(float(x) for x in (decibels.min(), decibels.mean(), residual.min(), residual.mean())))

    def run_int8(self, keep_float: Collection[str]) -> Fidelity:
        """Compute as a whole 8-bit file does that keeps the named nodes float."""
        rounded = [name for name in self.names if name not in {*keep_float}]
        return self.run(rounded, rounded)

    def audit(self) -> Iterator[LayerAudit]:
        """Measure node by node, in order; the last addition and clamp are left to the files' float tail."""
        tail = tail_of(self.graph)
        for node in self._nodes:
            if node.name not in tail:
                yield self._audit(node)

    def _audit(self, node: fx.Node) -> LayerAudit:
        name, module = node.name, module_of(self.graph, node)
        own = not isinstance(module, _KEEPS_SCALE)
        weights = self.run([name], []) if node in self._weights else None
        activations = self.run([], [name]) if own else None
        both = self.run([name], [name]) if weights is not None and own else weights or activations
        low = min(float(batch[name].min()) for batch in self._exact)
        high = max(float(batch[name].max()) for batch in self._exact)
        kind = getattr(node.target, "__name__", "") if module is None else type(module).__name__
        headroom = HALF_LIMIT / max(abs(low), abs(high), 1e-12)
        path = str(node.target) if module is not None else module_of_name(name)
        return LayerAudit(
            name, path, kind, low, high, headroom, self._sum_headroom(node), weights, activations,
            both or self.run([], [name]),
        )  # fmt: skip

    def _sum_headroom(self, node: fx.Node) -> float | None:
        module, source = module_of(self.graph, node), node.all_input_nodes[0].name
        if not isinstance(module, nn.Conv2d):
            return None
        largest = max(float(batch[source].abs().max()) for batch in self._exact)
        bias = 0.0 if module.bias is None else float(module.bias.detach().abs().max())
        reach = float(module.weight.detach().abs().sum(dim=(1, 2, 3)).max()) * largest + bias
        return HALF_LIMIT / max(reach, 1e-12)

    def _compute(
        self, given: Tensor, known: Mapping[str, Tensor], weights: Collection[str], activations: Collection[str]
    ) -> dict[str, Tensor]:
        values: dict[str, Any] = {IMAGE: given, STRENGTH: 1.0, **known}
        for node in self._nodes:
            if node.name in values:
                continue
            arguments = [values[item.name] if isinstance(item, fx.Node) else item for item in node.args]
            module = module_of(self.graph, node)
            if module is None:
                function: Any = node.target
                result = function(*arguments)
            elif node.name in weights and node in self._weights:
                result = torch.func.functional_call(module, self._weights[node], tuple(arguments))
            else:
                result = module(*arguments)
            values[node.name] = _round(result, self._scales[node.name]) if node.name in activations else result
        return values

    def _rounded_weights(self, node: fx.Node) -> dict[str, Tensor] | None:
        module = module_of(self.graph, node)
        if not isinstance(module, nn.Conv2d):
            return None
        kernel = module.weight.detach().numpy()
        bias = np.zeros(len(kernel), np.float32) if module.bias is None else module.bias.detach().numpy()
        step = float(self._scales[node.all_input_nodes[0].name].scales[0])
        layer = quantise_layer(kernel, bias, 0, step)
        column = layer.weight_quantization.scales.reshape(-1, 1, 1, 1)
        found = {"weight": torch.from_numpy(layer.weights.astype(np.float32) * column)}
        if module.bias is not None:
            found["bias"] = torch.from_numpy((layer.bias * layer.bias_quantization.scales).astype(np.float32))
        return found

    @staticmethod
    def _gather(batches: list[Tensor]) -> Faces:
        return torch.cat(batches).numpy()


def _round(values: Tensor, scale: Quantization) -> Tensor:
    step, zero = float(scale.scales[0]), float(scale.zero_points[0])
    levels = torch.round(values / step + zero).clamp(_LOWEST, _HIGHEST)
    return (levels - zero) * step
