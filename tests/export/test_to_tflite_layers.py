"""Single layers and small networks through the TFLite writer, beyond what a student holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from torch import Tensor, nn

from pocketface.export.deploy_graph import trace
from pocketface.export.to_tflite import Labels, write_tflite_graph
from pocketface.runtime.errors import ExportError

# Sums of some hundred products of values up to 3, in another order, and places between pixels in float32.
NOISE = 5e-6


def _nhwc(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if values.ndim == 4 else values


def _run(interpreter: Interpreter, images: Sequence[Tensor]) -> list[NDArray[Any]]:
    inputs = interpreter.get_input_details()
    for detail, image in zip(inputs, images, strict=True):
        interpreter.resize_tensor_input(detail["index"], _nhwc(image.numpy()).shape, strict=True)
    interpreter.allocate_tensors()
    for detail, image in zip(inputs, images, strict=True):
        interpreter.set_tensor(detail["index"], _nhwc(image.numpy()))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def _assert_same(path: Path, network: nn.Module, *images: Tensor, open_axes: Sequence[int] = ()) -> None:
    torch.manual_seed(1)
    graph = trace(network)
    write_tflite_graph(graph, [tuple(images[0].shape)], path, open_axes=open_axes)
    interpreter = Interpreter(str(path), num_threads=1)
    for image in images:
        with torch.no_grad():
            expected = graph(image)
        wanted = expected if isinstance(expected, tuple) else (expected,)
        for found, tensor in zip(_run(interpreter, [image]), wanted, strict=True):
            np.testing.assert_allclose(found, _nhwc(tensor.numpy()), atol=NOISE)


def _image(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, 3, padding="same"),
        nn.Conv2d(4, 6, (1, 5), padding=(0, 2)),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, 2, stride=2),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2),
        nn.Conv2d(4, 6, 3, padding=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4),
        nn.PReLU(4),
        nn.LeakyReLU(-0.3),
        nn.ReLU(),
        nn.Softmax(dim=1),
        nn.MaxPool2d(2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, 2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample(scale_factor=(3, 2), mode="bilinear"),
    ],
    ids=str,
)
@pytest.mark.parametrize("side", [12, 13])
def test_a_layer_does_what_pytorch_does(tmp_path: Path, layer: nn.Module, side: int) -> None:
    _assert_same(tmp_path / "a.tflite", nn.Sequential(layer), _image(1, 4, side, side))


class _Shuffled(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 3 * factor**2, 1)
        self.shuffle = nn.PixelShuffle(factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.conv(x))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_pixel_shuffle_costs_no_transposition(tmp_path: Path, factor: int) -> None:
    _assert_same(tmp_path / "a.tflite", _Shuffled(factor), _image(1, 4, 5, 7))


class _Clamped(nn.Module):
    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.clamp(y, 0.0, 1.0) if self.fused else torch.clamp(y, 0.0, 1.0) + y


@pytest.mark.parametrize("fused", [True, False])
def test_a_clamp_is_taken_over_only_by_whom_nobody_else_reads(tmp_path: Path, fused: bool) -> None:
    _assert_same(tmp_path / "a.tflite", _Clamped(fused=fused), _image(1, 4, 6, 6) * 3)


class _Proposer(nn.Module):
    """The shape of MTCNN's first network: fully convolutional, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.MaxPool2d(2, 2, ceil_mode=True), nn.Conv2d(6, 8, 3), nn.ReLU()
        )
        self.face = nn.Sequential(nn.Conv2d(8, 2, 1), nn.Softmax(dim=1))
        self.box = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x)
        return self.box(y), self.face(y)


class _Refiner(nn.Module):
    """The shape of MTCNN's other networks: fixed size, open batch, a flattened image between."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Flatten(), nn.Linear(6 * 5 * 5, 16), nn.PReLU(16),
        )  # fmt: skip
        self.face = nn.Sequential(nn.Linear(16, 2), nn.Softmax(dim=1))
        self.box = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x)
        return self.box(y), self.face(y)


def test_open_sizes_can_be_changed_again_and_again(tmp_path: Path) -> None:
    images = [_image(1, 3, 24, 24), _image(1, 3, 31, 17), _image(1, 3, 12, 40), _image(1, 3, 24, 24)]
    _assert_same(tmp_path / "a.tflite", _Proposer(), *images, open_axes=(2, 3))


def test_an_open_batch_can_be_changed_again_and_again(tmp_path: Path) -> None:
    images = [_image(count, 3, 12, 12) for count in (1, 5, 2, 9)]
    _assert_same(tmp_path / "a.tflite", _Refiner(), *images, open_axes=(0,))


def test_outputs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    write_tflite_graph(trace(_Proposer()), [(1, 3, 24, 24)], path, labels=Labels("detect", ("box", "face")))
    assert Interpreter(str(path)).get_signature_list() == {"detect": {"inputs": ["x"], "outputs": ["box", "face"]}}
    with pytest.raises(ExportError, match="2 names"):
        write_tflite_graph(trace(_Proposer()), [(1, 3, 24, 24)], path, labels=Labels("detect", ("box",)))


class _ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.shuffle(y), y


class _Broadcast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


@pytest.mark.parametrize(
    ("network", "node"),
    [
        (nn.Sequential(nn.Sigmoid()), "_0"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "_0"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), "_0"),
        (nn.Sequential(nn.PixelShuffle(2)), "_0"),
        (nn.Sequential(nn.Upsample(scale_factor=2)), "_0"),
        (nn.Sequential(nn.MaxPool2d(2, padding=1)), "_0"),
        (nn.Sequential(nn.MaxPool2d(5, 5, ceil_mode=True)), "_0"),
        (nn.Sequential(nn.Softmax(dim=2)), "_0"),
        (nn.Sequential(nn.Linear(12, 3)), "_0"),
        (nn.Sequential(nn.Flatten()), "_0"),
        (_ReadTwice(), "shuffle"),
        (_Broadcast(), "add"),
    ],
    ids=str,
)
def test_names_the_node_that_it_cannot_write(tmp_path: Path, network: nn.Module, node: str) -> None:
    with pytest.raises(ExportError, match=f"got node {node}: "):
        write_tflite_graph(trace(network), [(1, 4, 12, 12)], tmp_path / "a.tflite")
    assert not (tmp_path / "a.tflite").exists()


class _Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


# Ranges whose steps are no simple multiples of each other: ties, which every kernel rounds up, are rare.
_CASES = [
    (nn.Sequential(nn.LeakyReLU(0.1)), [(-4.0, 2.3)], (-0.41, 2.3)),
    (nn.Sequential(nn.LeakyReLU(-0.31)), [(-3.1, 2.7)], (0.0, 2.7)),
    (nn.Sequential(nn.LeakyReLU(1.21)), [(-3.0, 3.0)], (-3.7, 3.0)),
    (nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear")), [(-1.3, 2.0)], (-1.3, 2.0)),
    (nn.Sequential(nn.ReLU()), [(-1.3, 2.0)], (0.0, 1.9)),
    (nn.Sequential(nn.Conv2d(4, 4, 1)), [(-1.3, 2.0)], (-2.0, 2.0)),
    (nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1)), [(-1.3, 2.0)], (-3.0, 3.0)),
    (_Add(), [(-1.3, 2.0), (-1.0, 0.7)], (-2.5, 3.0)),
    (_Add(), [(0.0, 1.0), (-0.21, 0.33)], (0.0, 1.0)),
]


@pytest.mark.parametrize("resolver", [OpResolverType.AUTO, OpResolverType.BUILTIN_REF], ids=lambda kind: kind.name)
@pytest.mark.parametrize(("network", "given", "result"), _CASES, ids=str)
def test_8_bit_kernels_round_without_leaning_to_one_side(
    tmp_path: Path,
    network: nn.Module,
    given: list[tuple[float, float]],
    result: tuple[float, float],
    resolver: OpResolverType,
) -> None:
    torch.manual_seed(2)
    graph = trace(network)
    nodes = [node.name for node in graph.graph.nodes if node.op != "output"]
    path = tmp_path / "a.tflite"
    ranges = dict(zip(nodes, [*given, result], strict=True))
    write_tflite_graph(graph, [(1, 4, 48, 48)] * len(given), path, precision="int8", ranges=ranges)
    random = np.random.default_rng(0)
    images = [torch.from_numpy(_on_levels(random.uniform(*pair, (1, 4, 48, 48)), *pair)) for pair in given]
    with torch.no_grad():
        expected = _nhwc(graph(*images).numpy())
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=resolver)
    found = _run(interpreter, images)[0]
    step = (result[1] - result[0]) / 255
    inside = (expected > result[0] + step) & (expected < result[1] - step)
    errors = ((found - expected) / step)[inside]
    assert len(errors) > 1000
    # An ideal rounding errs by 0.29 levels rms and half a level at most; fixed-point multipliers and 8-bit weights
    # add a little.
    assert np.sqrt(np.mean(errors**2)) < 0.45
    assert np.abs(errors).max() < 1.5
    assert abs(errors.mean()) < 0.12


def _on_levels(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float32]:
    """Values that the input's levels stand for exactly, so that only the layer itself can err."""
    step = np.float32((high - low) / 255)
    zero_point = np.rint(-128 - low / step)
    return ((np.clip(np.rint(values / step + zero_point), -128, 127) - zero_point) * step).astype(np.float32)


def test_int8_needs_ranges_of_all_nodes_and_layers_that_have_8_bit_kernels(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    with pytest.raises(ExportError, match="none of _0"):
        write_tflite_graph(
            trace(nn.Sequential(nn.ReLU())), [(1, 4, 4, 4)], path, precision="int8", ranges={"input_1": (0, 1)}
        )
    ranges = {"input_1": (0.0, 1.0), "_0": (0.0, 1.0)}
    with pytest.raises(ExportError, match="node _0: PReLU"):
        write_tflite_graph(trace(nn.Sequential(nn.PReLU(4))), [(1, 4, 4, 4)], path, precision="int8", ranges=ranges)


def test_half_precision_weights_of_every_layer_kind_are_widened(tmp_path: Path) -> None:
    graph, path = trace(_Refiner()), tmp_path / "a.tflite"
    write_tflite_graph(graph, [(1, 3, 12, 12)], path, precision="fp16")
    image = _image(1, 3, 12, 12)
    with torch.no_grad():
        expected = graph(image)
    for found, tensor in zip(_run(Interpreter(str(path)), [image]), expected, strict=True):
        np.testing.assert_allclose(found, tensor.numpy(), atol=5e-3)  # 11-bit weights, values around 1
        assert np.abs(found - tensor.numpy()).max() > 1e-7
