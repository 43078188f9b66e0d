"""dlib's face-recognition ResNet as a torch module: differentiable, so that it can teach and serve as a loss.

The weights are `dlib_face_recognition_resnet_model_v1.dat` (CC0), which the PyPI package face_recognition_models
carries. dlib calls two descriptors closer than 0.6 (Euclidean, not normalised) the same person: 99.38 % on LFW by its
author. Descriptors have a norm of about 1.3 and share a large common direction, so that the cosine of two strangers is
high, too: 0.6 corresponds to a cosine of about 0.9. What was a loss or a teacher must not judge what it taught.
"""

from __future__ import annotations

import importlib.util
import re
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import BackendError, CheckpointError, ContractError
from ..faces.align import Template

PACKAGE = "face_recognition_models"
_FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
_SIDE = 150
# dlib aligns by its own landmarks, which lie elsewhere than ours. Measured on every third photograph of the training
# set (440 of 452 found by dlib's HOG detector): the five landmarks of the manifest carried into the chip that dlib cuts
# with its five-point predictor and padding 0.25; the mean. Spread over people: 2 px for eyes, 3-8 for nose and mouth.
DLIB = Template(
    "dlib", _SIDE, _SIDE,
    ((46.946, 44.664), (100.977, 44.530), (74.680, 77.503), (50.958, 104.819), (96.559, 104.836)),
)  # fmt: skip
_MEAN = (122.782, 117.001, 104.298)
# Width, blocks, and whether the first block halves the map, from the input on.
_LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
_DIMENSIONS = 128
# dlib writes a length byte and a tag before each layer's content; only these two layers and the head carry weights.
_TAGS = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2")


class DlibResNet(nn.Module):
    """(N, 3, 150, 150) RGB in [0, 1], aligned like DLIB -> (N, 128), unit length.

    Source: dlib (King), `dnn_face_recognition_ex.cpp`; Boost Software License for the description, CC0 for the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ConvAffine(3, 32, 7, 2, 0)
        blocks: list[_Residual] = []
        width = 32
        for channels, repeats, halves in _LEVELS:
            for repeat in range(repeats):
                blocks.append(_Residual(width, channels, halves=halves and repeat == 0))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, _DIMENSIONS, bias=False)
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN)[None, :, None, None], persistent=False)

    def describe(self, x: Tensor) -> Tensor:
        """dlib's own descriptor, (N, 128), not normalised: the same person below a distance of 0.6."""
        if x.shape[1:] != (3, _SIDE, _SIDE):
            raise ContractError(f"chips (N, 3, {_SIDE}, {_SIDE})", f"{tuple(x.shape)}")
        y = F.relu(self.stem((x * 255.0 - self.mean) / 256.0))
        y = self.blocks(F.max_pool2d(y, 3, 2))
        return self.fc(y.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Return unit-length descriptors."""
        return F.normalize(self.describe(x))


class _ConvAffine(nn.Module):
    """Convolution with bias, then a scale and shift per channel: what remains of BatchNorm."""

    def __init__(self, source: int, target: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(source, target, kernel, stride, padding)
        self.gain = nn.Parameter(torch.ones(target))
        self.shift = nn.Parameter(torch.zeros(target))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.gain[:, None, None] + self.shift[:, None, None]


class _Residual(nn.Module):
    """Two convolutions and a sum; dlib sums maps of unequal size by padding the smaller one with zeros."""

    def __init__(self, source: int, target: int, *, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        # dlib pads no convolution with a stride.
        self.first = _ConvAffine(source, target, 3, 2 if halves else 1, 0 if halves else 1)
        self.second = _ConvAffine(target, target, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        shortcut = F.avg_pool2d(x, 2) if self.halves else x
        shape = [max(a, b) for a, b in zip(y.shape[1:], shortcut.shape[1:], strict=True)]
        return F.relu(_pad(y, shape) + _pad(shortcut, shape))


def _pad(x: Tensor, shape: list[int]) -> Tensor:
    channels, rows, columns = (want - have for want, have in zip(shape, x.shape[1:], strict=True))
    return F.pad(x, (0, columns, 0, rows, 0, channels)) if channels or rows or columns else x


def find_dlib_weights() -> Path:
    """Find the weights in the installed package, which is not imported (its __init__ needs an old setuptools).

    Raises:
        BackendError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise BackendError(f"the package {PACKAGE}", "none", f"pip install {PACKAGE}")
    return Path(found.submodule_search_locations[0]) / _FILE


def load_dlib_resnet(path: Path | None = None) -> DlibResNet:
    """Build the network from dlib's own file, in eval mode and without gradients of its weights.

    Args:
        path: the `.dat` file; None for the one of the installed package.

    Raises:
        BackendError: no path given and the package is missing.
        CheckpointError: not that file, or a damaged one.
    """
    path = find_dlib_weights() if path is None else path
    if not path.is_file():
        raise CheckpointError("dlib's face-recognition weights", f"no file at {path}")
    layers = _read_layers(path.read_bytes(), path)
    model = DlibResNet()
    convolutions = [module for module in model.modules() if isinstance(module, _ConvAffine)]
    expected = [kind for _ in convolutions for kind in ("con_4", "affine_")] + ["fc_2"]
    if [layer.kind for layer in layers] != expected:
        raise CheckpointError(
            f"{len(convolutions)} convolutions with their affine layers", f"{len(layers)} layers in {path}"
        )
    for index, module in enumerate(convolutions):
        convolution, affine = layers[2 * index], layers[2 * index + 1]
        outputs = module.gain.numel()
        _copy(module.conv.weight, convolution.values[:-outputs], path)
        _copy(typing.cast("Tensor", module.conv.bias), convolution.values[-outputs:], path)
        _copy(module.gain, affine.values[:outputs], path)
        _copy(module.shift, affine.values[outputs:], path)
    head = (
        layers[-1].values.reshape(-1, _DIMENSIONS).T if layers[-1].values.size % _DIMENSIONS == 0 else layers[-1].values
    )
    _copy(model.fc.weight, head, path)
    return model.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class _Layer:
    kind: str
    values: NDArray[np.float32]


def _read_layers(data: bytes, path: Path) -> list[_Layer]:
    """Read what dlib serialised, from the input towards the output: a tag, then one tensor of parameters."""
    layers: list[_Layer] = []
    match = _TAGS.search(data)
    while match is not None:
        kind = match.group()[2:].decode()
        start = match.end()
        for _ in range(2 if kind == "fc_2" else 0):  # outputs and inputs come first
            _, start = _read_integer(data, start)
        values, end = _read_tensor(data, start, path)
        layers.append(_Layer(kind, values))
        match = _TAGS.search(data, end)
    return layers


def _read_tensor(data: bytes, start: int, path: Path) -> tuple[NDArray[np.float32], int]:
    """Read version 2, four extents, and raw little-endian float32; return them and where they end."""
    version, at = _read_integer(data, start)
    count = 1
    for _ in range(4):
        extent, at = _read_integer(data, at)
        count *= extent
    end = at + 4 * count
    if version != 2 or count <= 0 or end > len(data):
        raise CheckpointError(
            "a tensor in dlib's format", f"version {version}, {count} values in {path}", "fetch it again"
        )
    return np.frombuffer(data, "<f4", count, at), end


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    """dlib writes integers as one byte with a length (low bits) and a sign (top bit), then the bytes, lowest first.

    Past the end it reads as 0, which neither a version nor an extent can be.
    """
    head = int.from_bytes(data[at : at + 1], "little")
    length = head & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + length], "little")
    return (-value if head & 0x80 else value), at + 1 + length


def _copy(parameter: Tensor, values: NDArray[np.float32], path: Path) -> None:
    if values.size != parameter.numel():
        raise CheckpointError(f"{parameter.numel()} values for a layer", f"{values.size} in {path}")
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values.copy()).reshape(parameter.shape))
