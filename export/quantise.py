"""The arithmetic of 8-bit networks as TFLite defines it: levels, scales, zero points.

Activations are int8 with one scale and zero point a tensor; weights are int8, symmetric, with one scale an output
channel; biases are int32 in steps of (input scale * weight scale).

Source: TensorFlow Lite 8-bit quantization specification (Apache-2.0 documentation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ExportError

_LOWEST, _HIGHEST = -128, 127
_WEIGHT_LIMIT = 127
# A tensor that is constant still needs a scale to divide by.
_SMALLEST_SPAN = 1e-6
# Bias and products are summed in 32 bits: half of that range is left to the products.
_BIAS_LIMIT = 2.0**30


@dataclass(frozen=True)
class Quantization:
    """value = scale * (level - zero_point), per tensor or per slice along one axis.

    Args:
        scales: (1,) or (C,) float32.
        zero_points: the same shape, int64.
        axis: the axis that C runs along; 0 for a whole tensor.
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int = 0

    def equals(self, other: Quantization) -> bool:
        """Whether the same levels mean the same values."""
        return np.array_equal(self.scales, other.scales) and np.array_equal(self.zero_points, other.zero_points)


@dataclass(frozen=True)
class QuantizedLayer:
    """A convolution's parameters in 8 bits.

    Args:
        weights: int8 levels in the layout given.
        weight_quantization: per output channel.
        bias: (O,) int32 levels.
        bias_quantization: per output channel.
    """

    weights: NDArray[np.int8]
    weight_quantization: Quantization
    bias: NDArray[np.int32]
    bias_quantization: Quantization


def spread(low: float, high: float) -> Quantization:
    """Spread the 256 int8 levels over low..high, widened so that zero is a level of its own."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, _SMALLEST_SPAN) / (_HIGHEST - _LOWEST)
    zero_point = int(np.clip(np.rint(_LOWEST - low / scale), _LOWEST, _HIGHEST))
    return per_tensor(scale, zero_point)


def per_tensor(scale: float, zero_point: int) -> Quantization:
    """One scale and zero point for a whole tensor."""
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))


def quantise_layer(
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    axis: int,
    input_scale: float,
    limit: int = _WEIGHT_LIMIT,
) -> QuantizedLayer:
    """Round a convolution's weights and bias to levels.

    Args:
        weights: in TFLite's layout.
        bias: (O,).
        axis: of the output channels in `weights`.
        input_scale: of the tensor that the layer reads.
        limit: the largest weight level; the least is its negative.
    """
    others = tuple(other for other in range(weights.ndim) if other != axis)
    reach = np.abs(weights.astype(np.float64)).max(axis=others)
    # A channel of tiny weights under a large bias would overflow int32: there the bias decides the scale.
    smallest = np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_LIMIT)
    scales = np.maximum.reduce([reach / limit, smallest, np.full_like(reach, 1e-12)]).astype(np.float32)
    column = scales.astype(np.float64).reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
    levels = np.clip(np.rint(weights / column), -limit, limit).astype(np.int8)
    bias_scales = np.float32(input_scale) * scales
    bias_levels = np.rint(bias.astype(np.float64) / bias_scales.astype(np.float64)).astype(np.int32)
    zeros = np.zeros(scales.shape, np.int64)
    return QuantizedLayer(levels, Quantization(scales, zeros, axis), bias_levels, Quantization(bias_scales, zeros))


def to_half(name: str, values: NDArray[np.floating]) -> NDArray[np.float16]:
    """Round weights to half precision.

    Raises:
        ExportError: one that half precision cannot hold.
    """
    with np.errstate(over="ignore"):  # said below, with a name
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ExportError("weights within float16, below 65504", f"{np.abs(values).max():g} in {name}", "use fp32")
    return half
