"""Core ML's operations, one by one against PyTorch's own, over shapes, strides, pads and types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pocketface.runtime.backends.mil import MilProgram
from pocketface.runtime.backends.mil_operations import OPERATIONS
from pocketface.runtime.backends.mlpackage import import_coremltools
from pocketface.runtime.errors import BackendError

# Building a program takes some milliseconds: fewer examples than usual, and no deadline on a loaded machine.
FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
SIDES = st.integers(3, 9)
# Sums of some dozen float32 products in another order.
NOISE = 2e-5


def _program(build: Callable[[Any, Any], Any], shape: tuple[int, ...], *, half: bool = False) -> Any:
    tools, mil = import_coremltools(), import_coremltools("coremltools.converters.mil.mil")
    builder = import_coremltools("coremltools.converters.mil").Builder
    kind = mil.types.fp16 if half else mil.types.fp32

    @builder.program(input_specs=[builder.TensorSpec(shape, kind)], opset_version=tools.target.iOS16)
    def program(x: Any) -> Any:
        return build(builder, x)

    return program.functions["main"]


def _image(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def _same(build: Callable[[Any, Any], Any], x: Tensor, expected: Tensor, noise: float = NOISE) -> None:
    (found,) = MilProgram(_program(build, tuple(x.shape)), "a test").run({"x": x})
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=noise, rtol=1e-5)


@FEW
@given(
    sides=st.tuples(SIDES, SIDES), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.integers(1, 3),
    pads=st.tuples(*[st.integers(0, 2)] * 4), dilation=st.integers(1, 2), depthwise=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_convolution(
    sides: tuple[int, int], kernel: tuple[int, int], stride: int, pads: tuple[int, int, int, int], dilation: int,
    depthwise: bool, bias: bool,
) -> None:  # fmt: skip
    reach = [dilation * (side - 1) + 1 for side in kernel]
    if sides[0] + pads[0] + pads[1] < reach[0] or sides[1] + pads[2] + pads[3] < reach[1]:
        return
    groups = 4 if depthwise else 1
    weight, shift = (
        _image(6 if groups == 1 else 4, 4 // groups, *kernel, seed=1),
        _image(6 if groups == 1 else 4, seed=2),
    )
    constants = {"weight": weight.numpy(), **({"bias": shift.numpy()} if bias else {})}
    x = _image(1, 4, *sides)
    top, bottom, left, right = pads
    expected = F.conv2d(
        F.pad(x, (left, right, top, bottom)), weight, shift if bias else None, stride, 0, dilation, groups
    )
    _same(
        lambda mb, v: mb.conv(
            x=v, **constants, strides=[stride] * 2, pad_type="custom", pad=list(pads), dilations=[dilation] * 2,
            groups=groups,
        ),
        x, expected,
    )  # fmt: skip


@FEW
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), corners=st.booleans(), sides=st.tuples(SIDES, SIDES))
def test_upsampling(rows: int, columns: int, corners: bool, sides: tuple[int, int]) -> None:
    x = _image(1, 3, *sides)
    expected = F.interpolate(x, scale_factor=(rows, columns), mode="bilinear", align_corners=corners)
    _same(
        lambda mb, v: mb.upsample_bilinear(
            x=v, scale_factor_height=float(rows), scale_factor_width=float(columns), align_corners=corners
        ),
        x, expected,
    )  # fmt: skip
    nearest = F.interpolate(x, scale_factor=(rows, columns), mode="nearest")
    _same(
        lambda mb, v: mb.upsample_nearest_neighbor(x=v, scale_factor_height=rows, scale_factor_width=columns),
        x,
        nearest,
    )


@FEW
@given(factor=st.integers(1, 4), channels=st.integers(1, 3), sides=st.tuples(SIDES, SIDES))
def test_pixel_shuffle(factor: int, channels: int, sides: tuple[int, int]) -> None:
    x = _image(1, channels * factor**2, *sides)
    _same(lambda mb, v: mb.pixel_shuffle(x=v, upscale_factor=factor), x, F.pixel_shuffle(x, factor), 0.0)


@FEW
@given(slope=st.floats(-0.875, 0.875, width=32), low=st.floats(-1, 0, width=32), sides=st.tuples(SIDES, SIDES))
def test_activations_and_clips(slope: float, low: float, sides: tuple[int, int]) -> None:
    x = _image(1, 3, *sides)
    _same(lambda mb, v: mb.leaky_relu(x=v, alpha=np.float32(slope)), x, F.leaky_relu(x, slope))
    _same(lambda mb, v: mb.clip(x=v, alpha=np.float32(low), beta=np.float32(0.5)), x, x.clamp(low, 0.5))
    slopes = np.array([slope, 0.1, -0.2], np.float32)
    _same(lambda mb, v: mb.prelu(x=v, alpha=slopes), x, F.prelu(x, torch.from_numpy(slopes)))
    hard = (0.3 * x + abs(low)).clamp(0, 1)
    _same(lambda mb, v: mb.sigmoid_hard(x=v, alpha=np.float32(0.3), beta=np.float32(abs(low))), x, hard)


@FEW
@given(
    axes=st.sets(st.integers(0, 3), min_size=1), keep=st.booleans(), sides=st.tuples(st.integers(1, 3), SIDES, SIDES)
)
def test_reductions(axes: set[int], keep: bool, sides: tuple[int, int, int]) -> None:
    x, order = _image(1, *sides), sorted(axes)
    for name, function in (("mean", torch.mean), ("sum", torch.sum), ("max", torch.amax)):
        expected = function(x, order, keepdim=keep)
        if expected.ndim == 0:
            continue
        _same(lambda mb, v, n=name: getattr(mb, f"reduce_{n}")(x=v, axes=order, keep_dims=keep), x, expected)


PLAIN: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Tensor], Tensor]]] = {
    "relu": (lambda mb, v: mb.relu(x=v), torch.relu),
    "relu6": (lambda mb, v: mb.relu6(x=v), F.relu6),
    "sigmoid": (lambda mb, v: mb.sigmoid(x=v), torch.sigmoid),
    "tanh": (lambda mb, v: mb.tanh(x=v), torch.tanh),
    "round": (lambda mb, v: mb.round(x=v), torch.round),
    "rsqrt": (lambda mb, v: mb.rsqrt(x=mb.mul(x=v, y=v), epsilon=np.float32(1e-3)), lambda x: (x * x + 1e-3).rsqrt()),
    "thresholded_relu": (lambda mb, v: mb.thresholded_relu(x=v, alpha=np.float32(0.5)), lambda x: x * (x >= 0.5)),
    "reshape": (lambda mb, v: mb.reshape(x=v, shape=[1, 6, -1]), lambda x: x.reshape(1, 6, -1)),
    "transpose": (lambda mb, v: mb.transpose(x=v, perm=[0, 2, 3, 1]), lambda x: x.permute(0, 2, 3, 1)),
    "concat": (lambda mb, v: mb.concat(values=[v, mb.relu(x=v)], axis=1), lambda x: torch.cat([x, x.relu()], 1)),
    "add": (lambda mb, v: mb.add(x=v, y=np.float32(2)), lambda x: x + 2),
    "sub": (lambda mb, v: mb.sub(x=np.float32(2), y=v), lambda x: 2 - x),
    "mul": (lambda mb, v: mb.mul(x=v, y=mb.relu(x=v)), lambda x: x * x.relu()),
    "real_div": (lambda mb, v: mb.real_div(x=v, y=np.float32(3)), lambda x: x / 3),
    "maximum": (lambda mb, v: mb.maximum(x=v, y=np.float32(0.2)), lambda x: x.clamp(min=0.2)),
    "minimum": (lambda mb, v: mb.minimum(x=v, y=np.float32(0.2)), lambda x: x.clamp(max=0.2)),
}
ABOVE = {
    "conv", "upsample_bilinear", "upsample_nearest_neighbor", "pixel_shuffle", "leaky_relu", "clip", "prelu",
    "sigmoid_hard", "reduce_mean", "reduce_sum", "reduce_max", "cast",
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_operation(name: str) -> None:
    build, expected = PLAIN[name]
    x = _image(1, 6, 4, 5)
    _same(build, x, expected(x))


def test_every_operation_is_tested() -> None:
    assert set(OPERATIONS) == {*PLAIN, *ABOVE}


def test_half_precision_rounds_every_result_and_can_be_left_out() -> None:
    x = _image(1, 4, 6, 6)
    function = _program(lambda mb, v: mb.cast(x=mb.mul(x=v, y=np.float16(1.1)), dtype="fp32"), (1, 4, 6, 6), half=True)
    factor = float(np.float16(1.1))
    (rounded,) = MilProgram(function, "a test").run({"x": x})
    np.testing.assert_array_equal(rounded.numpy(), (x * factor).half().float().numpy())
    (exact,) = MilProgram(function, "a test", half=False).run({"x": x})
    np.testing.assert_array_equal(exact.numpy(), (x * factor).numpy())
    assert not torch.equal(rounded, exact)


def test_what_overflows_half_precision_is_infinite() -> None:
    function = _program(lambda mb, v: mb.mul(x=v, y=np.float16(60000)), (1, 4, 6, 6), half=True)
    (found,) = MilProgram(function, "a test").run({"x": torch.full((1, 4, 6, 6), 2.0)})
    assert torch.isinf(found).all()


def test_an_unknown_operation_is_named_with_its_place() -> None:
    function = _program(lambda mb, v: mb.relu(x=mb.softplus(x=v, name="body_3_act")), (1, 4, 6, 6))
    with pytest.raises(BackendError, match=r"softplus: operation 1 of 2, body_3_act, in some\.mlpackage"):
        MilProgram(function, "some.mlpackage")


def test_a_setting_that_is_not_known_is_named_with_its_place() -> None:
    weight = np.ones((2, 4, 3, 3), np.float32)
    function = _program(lambda mb, v: mb.conv(x=v, weight=weight, pad_type="same", name="stem"), (1, 4, 6, 6))
    with pytest.raises(BackendError, match=r"same.*conv: operation 1 of 1, stem"):
        MilProgram(function, "a test")
