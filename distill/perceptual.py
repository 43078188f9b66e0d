"""Features for the perceptual term: the shallow layers of a network that knows pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..runtime.errors import CheckpointError
from ..runtime.models.checkpoint import load_model
from ..runtime.models.identity import MobileFaceNet
from ..runtime.models.pickled import read_pickled
from ..runtime.weights import find_checkpoint
from .frozen import Frozen

# Pictures (N, 3, H, W) in [0, 1], any size -> one feature map a layer; gradients flow to the pictures alone.
Features: TypeAlias = Callable[[Tensor], list[Tensor]]

VGG19 = "vgg19="
# Output channels of VGG19's convolutions; 0 is a pooling layer (Simonyan and Zisserman 2015, configuration E).
_VGG19_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
# conv1_2, conv2_2, conv3_4, conv4_4, conv5_4 before their activation, as ESRGAN takes them: positions in `features`.
_VGG19_TAPS = (2, 7, 16, 25, 34)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# MobileFaceNet's blocks after which its last map at strides 4 and 8 is read.
_MOBILEFACENET_TAPS = (4, 11)


def open_features(name: str, device: str = "cpu") -> Features:
    """Open a network for the perceptual term, frozen and in eval mode.

    Args:
        name: a `mobilefacenet` by shipped name (`identity`) or path, or `vgg19=FILE` with the weights that torchvision
            publishes for VGG19.
        device: torch's name of the device.

    Raises:
        CheckpointError: a file that is neither.
    """
    if name.startswith(VGG19):
        return Vgg19Features(Path(name.removeprefix(VGG19))).to(device)
    loaded, _ = load_model(find_checkpoint(name), "mobilefacenet", device)
    if not isinstance(loaded, MobileFaceNet):
        raise CheckpointError("a MobileFaceNet", type(loaded).__name__)
    return _MobileFaceNetFeatures(loaded)


class _MobileFaceNetFeatures(Frozen):
    """The convolutional part needs no alignment and takes any size, so crops of faces will do."""

    def __init__(self, network: MobileFaceNet) -> None:
        super().__init__()
        self.stem = nn.Sequential(network.conv1, network.dw_conv1)
        self.blocks = nn.ModuleList(list(network.blocks)[: _MOBILEFACENET_TAPS[-1] + 1])
        self.freeze()

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] -> maps at strides 2, 4 and 8."""
        y = self.stem((x.float() * 255.0 - 127.5) / 128.0)
        found = [y]
        for index, block in enumerate(self.blocks):
            y = block(y)
            if index in _MOBILEFACENET_TAPS:
                found.append(y)
        return found


class Vgg19Features(Frozen):
    """VGG19 up to conv5_4, with the weights of torchvision's file (keys `features.N.weight`).

    Args:
        path: the file; a plain state dict.

    Raises:
        CheckpointError: not such a file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.features = nn.Sequential(*_vgg19_layers())
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD)[:, None, None], persistent=False)
        wanted = self.state_dict()
        content = read_pickled(path)
        state = {key: found for key in wanted if isinstance(found := content.get(key), Tensor)}
        missing = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
        if missing:
            raise CheckpointError("torchvision's VGG19", f"{path} without a fitting {missing[0]}", "use vgg19-*.pth")
        self.load_state_dict(state)
        self.freeze()

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] -> maps at strides 1, 2, 4, 8 and 16."""
        y, found = (x.float() - self.mean) / self.std, []
        for index, layer in enumerate(self.features):
            y = layer(y)
            if index in _VGG19_TAPS:
                found.append(y)
        return found


def _vgg19_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    source = 3
    for target in _VGG19_LAYERS:
        if target == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(source, target, 3, padding=1), nn.ReLU()]
            source = target
    return layers[: _VGG19_TAPS[-1] + 1]
