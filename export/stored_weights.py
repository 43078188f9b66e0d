"""The weights that a device file really holds, decoded, and whether they are the network's.

One wrong weight in a million changes a face by less than half precision does (measured: 1.2e-5), so that running a file
cannot find it; comparing tensor by tensor does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..runtime.manifest import TensorSpec

if TYPE_CHECKING:
    from torch import fx

Values: TypeAlias = NDArray[np.float32]

# Scales are themselves rounded numbers: half a step may be exceeded by a hair.
_HAIR = 1.001
_HALF_PRECISION = 2.0**-11
_SINGLE_PRECISION = 2.0**-24
_HALF_SMALLEST = 2.0**-25


@dataclass(frozen=True)
class Stored:
    """One tensor of a network's weights, as decoded from a file.

    Args:
        name: what the file calls it, for people.
        value: kernels (O, I / groups, kh, kw), biases (O,), LeakyReLU slopes ().
        slack: how far storing may have moved a value, broadcastable to `value`; 0 where it is stored exactly.
    """

    name: str
    value: Values
    slack: Values


@dataclass(frozen=True)
class Contents:
    """What a device file says of itself.

    Args:
        inputs, outputs: its tensors.
        weights: in the network's order: of each convolution kernel and bias, of each LeakyReLU its slope.
        min_runtime: the oldest runtime that knows all of its operations, in words.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[Stored, ...]
    min_runtime: str


def store(name: str, value: NDArray[np.generic], step: NDArray[np.floating] | float = 0.0) -> Stored:
    """Describe a decoded tensor.

    Args:
        name: what the file calls it.
        value: decoded; float16 means that it was rounded to half precision.
        step: distance of neighbouring levels where it is stored as integers, broadcastable to `value`; in float16 where
            the file keeps it so: the step of a layer of tiny weights is a subnormal number, of few bits.
    """
    exact = value.astype(np.float32)
    rounding = _HALF_PRECISION * np.abs(exact) + _HALF_SMALLEST if value.dtype == np.float16 else 0.0
    if np.any(step):
        # Levels times a scale: the weight, the scale and the product were each rounded.
        rounding = 4 * (rounding + _SINGLE_PRECISION * np.abs(exact))
        if np.asarray(step).dtype == np.float16:
            rounding = rounding + np.abs(exact) / np.maximum(step, _HALF_SMALLEST).astype(np.float32) * _HALF_SMALLEST
    return Stored(name, exact, np.asarray((np.asarray(step) / 2 + rounding) * _HAIR, np.float32))


def rearrange(stored: Stored, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Stored:
    """Rearrange a tensor together with its slack."""
    return Stored(stored.name, change(stored.value), change(np.broadcast_to(stored.slack, stored.value.shape)))


def regroup(stored: Stored, factor: int) -> Stored:
    """Undo what `deploy_graph.convolution_weights` does to a layer before a pixel shuffle of that factor.

    Output channels go from (pixel of the block, colour) to (colour, pixel of the block).
    """

    def change(values: NDArray[np.float32]) -> NDArray[np.float32]:
        others = values.shape[1:]
        return values.reshape(factor**2, -1, *others).swapaxes(0, 1).reshape(-1, *others)

    return rearrange(stored, change)


def weights_of(graph: fx.GraphModule) -> tuple[Stored, ...]:
    """The weights of a deploy graph, in its order: what a file made from it should hold."""
    from torch import nn  # only whoever has a network needs torch

    from .deploy_graph import module_of

    found = []
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        if isinstance(module, nn.Conv2d):
            found += [store(f"{node.name}.{key}", value.detach().numpy()) for key, value in module.named_parameters()]
        elif isinstance(module, nn.LeakyReLU):
            found.append(store(f"{node.name}.slope", np.asarray(module.negative_slope, np.float32)))
    return tuple(found)


def differences(expected: Sequence[Stored], found: Sequence[Stored]) -> list[str]:
    """Say in words where a file's weights are not the network's, tensor by tensor; empty where they are.

    Args:
        expected: from the network.
        found: from the file; each value may differ by its slack.
    """
    if len(expected) != len(found):
        return [f"{len(found)} tensors instead of {len(expected)}"]
    words = []
    for wanted, stored in zip(expected, found, strict=True):
        if wanted.value.shape != stored.value.shape:
            words.append(f"{wanted.name} has shape {stored.value.shape} instead of {wanted.value.shape}")
            continue
        wrong = ~(np.abs(wanted.value.astype(np.float64) - stored.value) <= stored.slack)  # NaN is wrong too
        if wrong.any():
            place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            words.append(
                f"{wanted.name}: {int(wrong.sum())} of {wrong.size} values differ, first {tuple(map(int, place))}: "
                f"{stored.value[place]:.8g} instead of {wanted.value[place]:.8g}"
            )
    return words


def digest(weights: Sequence[Stored]) -> str:
    """sha256 over shapes and little-endian float32 values of decoded weights, in order; names do not count."""
    state = hashlib.sha256()
    for stored in weights:
        state.update(f"{stored.value.shape}\n".encode())
        state.update(np.ascontiguousarray(stored.value, "<f4").tobytes())
    return state.hexdigest()
