from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pocketface.export.quantise import quantise_layer, spread


def test_the_unit_range_maps_grey_levels_to_levels() -> None:
    unit = spread(0.0, 1.0)
    assert unit.scales[0] == np.float32(1 / 255)
    assert unit.zero_points[0] == -128


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_levels_cover_the_range_and_zero_is_one_of_them(first: float, second: float) -> None:
    low, high = min(first, second, 0.0), max(first, second, 0.0)
    quantization = spread(low, high)
    scale, zero_point = float(quantization.scales[0]), int(quantization.zero_points[0])
    assert -128 <= zero_point <= 127
    # Rounding the zero point moves the covered range by at most half a level; the rest is float32.
    assert scale * (-128 - zero_point) <= low + 0.51 * scale
    assert scale * (127 - zero_point) >= high - 0.51 * scale
    assert scale <= max(high - low, 1e-6) / 255 * 1.001


def test_weights_keep_within_half_a_level_of_their_channel() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(6, 3, 3, 4)).astype(np.float32) * np.logspace(-3, 1, 6)[:, None, None, None]
    weights = weights.astype(np.float32)
    bias = random.normal(size=6).astype(np.float32)
    layer = quantise_layer(weights, bias, 0, 0.02)
    scales = layer.weight_quantization.scales.reshape(-1, 1, 1, 1)
    # Half a level, and a hair for float32.
    assert (np.abs(layer.weights * scales - weights) <= 0.5001 * scales).all()
    assert (np.abs(layer.weights).reshape(6, -1).max(axis=1) == 127).all()
    steps = layer.bias_quantization.scales
    assert (np.abs(layer.bias * steps.astype(np.float64) - bias) <= 0.5001 * steps).all()


def test_the_axis_of_depthwise_weights_is_the_last() -> None:
    weights = np.ones((1, 3, 3, 5), np.float32) * np.arange(1, 6, dtype=np.float32)
    layer = quantise_layer(weights, np.zeros(5, np.float32), 3, 1.0)
    assert layer.weight_quantization.axis == 3
    assert (layer.weights == 127).all()
    np.testing.assert_allclose(layer.weight_quantization.scales, np.arange(1, 6) / 127, rtol=1e-6)


def test_a_large_bias_over_tiny_weights_does_not_overflow() -> None:
    weights = np.full((2, 1, 1, 1), 1e-9, np.float32)
    bias = np.array([3.0, -3.0], np.float32)
    layer = quantise_layer(weights, bias, 0, 1e-3)
    decoded = layer.bias.astype(np.float64) * layer.bias_quantization.scales
    np.testing.assert_allclose(decoded, bias, rtol=1e-6)


def test_a_dead_channel_stays_dead() -> None:
    layer = quantise_layer(np.zeros((2, 1, 1, 3), np.float32), np.zeros(2, np.float32), 0, 0.1)
    assert not layer.weights.any()
    assert not layer.bias.any()
    assert (layer.weight_quantization.scales > 0).all()


def test_fewer_levels_use_fewer_levels() -> None:
    layer = quantise_layer(np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32), 0, 0.1, limit=64)
    assert layer.weights.item() == 64
    np.testing.assert_allclose(layer.weight_quantization.scales, 1 / 64)
