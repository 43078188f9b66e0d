"""The operations of Core ML's programs (MIL), each as PyTorch computes it.

An entry takes an operation's constant settings once and returns what maps its computed tensors to its result, so that
nothing is decoded twice. Names, defaults and conventions are those of the MIL reference, iOS 15 and 16.

Source: coremltools' MIL operation reference (BSD-3-Clause documentation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BackendError

Settings: TypeAlias = Mapping[str, Any]
# Computed tensors by argument; an argument that is a constant is in the settings instead.
Compute: TypeAlias = Callable[[Mapping[str, Any]], Tensor]


def tensor_of(value: Any) -> Tensor:
    """A constant as a float32 tensor, images channels last, as the convolutions that read them are fastest."""
    found = torch.from_numpy(np.ascontiguousarray(value, np.float32))
    return found.contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found


def _convolution(settings: Settings) -> Compute:
    weight = tensor_of(settings["weight"])
    bias = None if settings.get("bias") is None else tensor_of(settings["bias"])
    strides, dilations = _ints(settings.get("strides", (1, 1))), _ints(settings.get("dilations", (1, 1)))
    groups = int(settings.get("groups", 1))
    kind = str(settings.get("pad_type", "valid"))
    if kind not in ("custom", "valid"):
        raise BackendError("padding of type custom or valid", kind)
    top, bottom, left, right = _ints(settings["pad"]) if kind == "custom" else (0, 0, 0, 0)
    even = (top, left) == (bottom, right)
    inside = (top, left) if even else (0, 0)

    def compute(tensors: Mapping[str, Any]) -> Tensor:
        x = tensors["x"] if even else F.pad(tensors["x"], (left, right, top, bottom))
        return F.conv2d(x, weight, bias, strides, inside, dilations, groups)

    return compute


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Settings], Compute]:
    """An elementwise operation of x and y, either of which may be a constant."""

    def prepare(settings: Settings) -> Compute:
        fixed = {key: tensor_of(settings[key]) for key in ("x", "y") if key in settings}
        return lambda tensors: function(*({**tensors, **fixed}[key] for key in ("x", "y")))

    return prepare


def _unary(function: Callable[..., Tensor], *names: str) -> Callable[[Settings], Compute]:
    """An elementwise operation of x with settings that are plain numbers."""

    def prepare(settings: Settings) -> Compute:
        numbers = [float(settings[name]) for name in names]
        return lambda tensors: function(tensors["x"], *numbers)

    return prepare


def _prelu(settings: Settings) -> Compute:
    slopes = tensor_of(settings["alpha"])
    return lambda tensors: F.prelu(tensors["x"], slopes)


def _upsample_bilinear(settings: Settings) -> Compute:
    factors = (float(settings["scale_factor_height"]), float(settings["scale_factor_width"]))
    corners = bool(settings.get("align_corners", True))
    return lambda tensors: F.interpolate(tensors["x"], scale_factor=factors, mode="bilinear", align_corners=corners)


def _upsample_nearest(settings: Settings) -> Compute:
    rows, columns = (float(settings[f"scale_factor_{side}"]) for side in ("height", "width"))
    if rows != int(rows) or columns != int(columns):
        raise BackendError("whole factors of nearest-neighbour upsampling", f"{rows:g} by {columns:g}")
    return lambda tensors: tensors["x"].repeat_interleave(int(rows), 2).repeat_interleave(int(columns), 3)


def _pixel_shuffle(settings: Settings) -> Compute:
    factor = int(settings["upscale_factor"])
    return lambda tensors: F.pixel_shuffle(tensors["x"], factor)


def _concat(settings: Settings) -> Compute:
    if bool(settings.get("interleave", False)):
        raise BackendError("concatenation in order", "interleaved")
    axis = int(settings["axis"])
    return lambda tensors: torch.cat(tuple(tensors["values"]), axis)


def _reduce(function: Callable[..., Tensor]) -> Callable[[Settings], Compute]:
    def prepare(settings: Settings) -> Compute:
        axes, keep = settings.get("axes"), bool(settings.get("keep_dims", False))

        def compute(tensors: Mapping[str, Any]) -> Tensor:
            x = tensors["x"]
            return function(x, tuple(range(x.ndim)) if axes is None else tuple(_ints(axes)), keepdim=keep)

        return compute

    return prepare


def _reshape(settings: Settings) -> Compute:
    shape = _ints(settings["shape"])
    return lambda tensors: tensors["x"].reshape(
        [int(tensors["x"].shape[i]) if n == 0 else n for i, n in enumerate(shape)]
    )


def _transpose(settings: Settings) -> Compute:
    order = _ints(settings["perm"])
    return lambda tensors: tensors["x"].permute(order)


def _thresholded_relu(settings: Settings) -> Compute:
    limit = float(settings.get("alpha", 1.0))
    return lambda tensors: torch.where(tensors["x"] >= limit, tensors["x"], 0.0)


def _ints(values: Any) -> list[int]:
    return [int(value) for value in np.atleast_1d(values)]


OPERATIONS: dict[str, Callable[[Settings], Compute]] = {
    "add": _binary(torch.add),
    "cast": lambda _: lambda tensors: tensors["x"],  # the result's type does the rounding
    "clip": _unary(torch.clamp, "alpha", "beta"),
    "concat": _concat,
    "conv": _convolution,
    "leaky_relu": _unary(F.leaky_relu, "alpha"),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mul": _binary(torch.mul),
    "pixel_shuffle": _pixel_shuffle,
    "prelu": _prelu,
    "real_div": _binary(torch.div),
    "reduce_max": _reduce(torch.amax),
    "reduce_mean": _reduce(torch.mean),
    "reduce_sum": _reduce(torch.sum),
    "relu": _unary(torch.relu),
    "relu6": _unary(F.relu6),
    "reshape": _reshape,
    "round": _unary(torch.round),
    "rsqrt": _unary(lambda x, epsilon: torch.rsqrt(x + epsilon), "epsilon"),
    "sigmoid": _unary(torch.sigmoid),
    "sigmoid_hard": _unary(lambda x, slope, shift: (slope * x + shift).clamp(0, 1), "alpha", "beta"),
    "sub": _binary(torch.sub),
    "tanh": _unary(torch.tanh),
    "thresholded_relu": _thresholded_relu,
    "transpose": _transpose,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
