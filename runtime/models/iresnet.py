"""insightface's IResNet, so that its public ArcFace weights load: a judge of identity, and a loss.

No weights are shipped. Those that insightface publishes are for non-commercial research: what is trained with them as a
loss, and for which purpose, is for whoever trains to settle.

Source: insightface `arcface_torch` (MIT code; layout and tensor names are facts), ArcFace (Deng et al. 2019).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError, ContractError
from .pickled import read_pickled

SIDE = 112
_WIDTHS = (64, 128, 256, 512)
# The input halves in each of the four layers.
_LAST_MAP = SIDE // 16
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 200: (6, 26, 60, 6)}
# Where training scripts put the weights, and what they put before each name.
_HOLDERS = ("state_dict_backbone", "state_dict")
_PREFIXES = ("module.", "backbone.")
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.")
# What else comes as `.pt` or `.pth`, told by one name that only it has.
_STRANGERS = {
    "input_layer.0.weight": "an IR network of AdaFace or InsightFace_Pytorch",
    "net_state_dict": "Xiaoccer's MobileFaceNet",
    "features.0.weight": "VGG",
    "layer1.0.conv1.weight": "a ResNet of another kind",
}
_EXPORT = "judge with another recogniser as an ONNX file"


@dataclass(frozen=True)
class IResNetConfig:
    """The shape of an IResNet.

    Args:
        blocks: residual blocks in each of the four layers.
        embedding: length of the embedding.
    """

    blocks: tuple[int, ...] = DEPTHS[18]
    embedding: int = 512


class IResNet(nn.Module):
    """(N, 3, 112, 112) RGB in [0, 1], aligned with the ArcFace template -> (N, embedding), unit length.

    Names of modules are those of the public weights.
    """

    def __init__(self, config: IResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else IResNetConfig()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        layers = [_layer(index, count) for index, count in enumerate(self.config.blocks)]
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.bn2 = nn.BatchNorm2d(_WIDTHS[-1])
        self.fc = nn.Linear(_WIDTHS[-1] * _LAST_MAP**2, self.config.embedding)
        self.features = nn.BatchNorm1d(self.config.embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Embed crops; the scaling to [-1, 1] happens here."""
        if x.shape[1:] != (3, SIDE, SIDE):
            raise ContractError(f"identity crops (N, 3, {SIDE}, {SIDE})", f"{tuple(x.shape)}")
        y = self.prelu(self.bn1(self.conv1((x - 0.5) / 0.5)))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return F.normalize(self.features(self.fc(self.bn2(y).flatten(1))))


class _Block(nn.Module):
    """Normalise, convolve, convolve with the stride, add; the shortcut is a 1x1 convolution where shapes change."""

    def __init__(self, source: int, target: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(source)
        self.conv1 = nn.Conv2d(source, target, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(target)
        self.prelu = nn.PReLU(target)
        self.conv2 = nn.Conv2d(target, target, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(target)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or source != target:
            shortcut = nn.Conv2d(source, target, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(target))

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


def _layer(index: int, count: int) -> nn.Sequential:
    width, source = _WIDTHS[index], _WIDTHS[max(0, index - 1)]
    return nn.Sequential(_Block(source, width, 2), *(_Block(width, width, 1) for _ in range(count - 1)))


def load_iresnet(path: Path) -> IResNet:
    """Rebuild the network from a public `.pt` or `.pth` file, in eval mode; its depth is read off the names.

    Args:
        path: a state dict, or a training checkpoint that holds one (`state_dict_backbone`, `state_dict`), in float32
            or float16.

    Raises:
        CheckpointError: no such file, damaged, or weights of another network.
    """
    state = _find_state(read_pickled(path), path)
    model = IResNet(_read_config(state, path))
    wanted = model.state_dict()
    # Counts of training batches are no weights, and old files lack them.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in wanted]
    wrong = [name for name, value in state.items() if name in wanted and value.shape != wanted[name].shape]
    for problem, names in (("no", missing), ("unknown", unknown), ("of another shape:", wrong)):
        if names:
            raise CheckpointError(f"the weights of an IResNet in {path}", f"{problem} {names[0]} ({len(names)} such)")
    model.load_state_dict({name: value.to(wanted[name].dtype) for name, value in state.items()}, strict=False)
    return model.eval()


def _find_state(content: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    """Take the state dict out of what holds it, and off its names what wrappers put before them."""
    for holder in _HOLDERS:
        inner = content.get(holder)
        if isinstance(inner, Mapping):
            content = inner
    for prefix in _PREFIXES:
        if content and all(str(name).startswith(prefix) for name in content):
            content = {str(name).removeprefix(prefix): value for name, value in content.items()}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if "layer1.0.prelu.weight" in tensors:
        return tensors
    stranger = next((words for key, words in _STRANGERS.items() if key in content), f"{len(content)} other entries")
    raise CheckpointError(
        f"insightface's IResNet (conv1, bn1, prelu, layer1 to layer4, bn2, fc, features) in {path}", stranger, _EXPORT
    )


def _read_config(state: Mapping[str, Tensor], path: Path) -> IResNetConfig:
    """Count the blocks of each layer; any depth will do."""
    found = [match.groups() for name in state if (match := _BLOCK.match(name))]
    blocks = tuple(len({block for layer, block in found if layer == str(number)}) for number in range(1, 5))
    head = state.get("fc.weight", torch.empty(0))
    if 0 in blocks or head.ndim != 2:
        raise CheckpointError(f"four layers and a head in {path}", f"blocks {blocks} and fc {tuple(head.shape)}")
    return IResNetConfig(blocks, head.shape[0])
