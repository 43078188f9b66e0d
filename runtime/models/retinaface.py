"""RetinaFace with a MobileNet of a quarter of the width: finds faces and their five landmarks in one look.

The layout and the names of the tensors are those of the public PyTorch project, so that its weights load as they are;
none are shipped.

Source: RetinaFace (Deng et al. 2019), biubug6/Pytorch_Retinaface (MIT).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError
from .pickled import read_pickled

# Each map's step in pixels and the sides of the two squares (priors) that stand at each of its places.
PYRAMID = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
_SLOPE = 0.1
_WIDTH = 64
_PRIORS = 2


class RetinaFace(nn.Module):
    """(N, 3, H, W) BGR minus (104, 117, 123), of any size -> boxes (N, P, 4), faces (N, P, 2), landmarks (N, P, 10).

    P counts priors: map after map as in PYRAMID, then row, column and square. Boxes are shifts of the centre in
    prior sides over 0.1 and logarithms of the size over 0.2; faces are logits of no face and of a face; landmarks are
    five pairs x y, shifts from the prior's centre in prior sides over 0.1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = _Body()
        self.fpn = _FeaturePyramid()
        self.ssh1, self.ssh2, self.ssh3 = _Context(), _Context(), _Context()
        # The upper-case names are those of the weights.
        self.ClassHead = _heads(2)
        self.BboxHead = _heads(4)
        self.LandmarkHead = _heads(10)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the network."""
        maps = self.fpn(self.body(image))
        maps = [ssh(one) for ssh, one in zip((self.ssh1, self.ssh2, self.ssh3), maps, strict=True)]
        return _over(self.BboxHead, maps), _over(self.ClassHead, maps), _over(self.LandmarkHead, maps)


def load_retinaface(path: Path) -> RetinaFace:
    """Read the public weights of RetinaFace with MobileNet 0.25 into the network, in eval mode.

    Raises:
        CheckpointError: not a file of PyTorch weights, or those of another network.
    """
    state = read_pickled(path)
    network = RetinaFace()
    # Weights saved from several GPUs carry a prefix.
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        expected = "weights of RetinaFace with MobileNet 0.25 (retinaface_mobilenet0.25.pth)"
        raise CheckpointError(expected, f"another network in {path}") from error
    return network.eval()


def _conv(source: int, target: int, kernel: int = 3, stride: int = 1, *, active: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(source, target, kernel, stride, kernel // 2, bias=False)
    layers = [conv, nn.BatchNorm2d(target), *([nn.LeakyReLU(_SLOPE)] if active else [])]
    return nn.Sequential(*layers)


def _separable(source: int, target: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(source, source, 3, stride, 1, groups=source, bias=False),
        nn.BatchNorm2d(source),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(source, target, 1, bias=False),
        nn.BatchNorm2d(target),
        nn.LeakyReLU(_SLOPE),
    )


class _Body(nn.Module):
    """MobileNet v1: an image -> maps at steps of 8 (64 channels), 16 (128) and 32 (256) pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _conv(3, 8, stride=2), _separable(8, 16), _separable(16, 32, 2), _separable(32, 32), _separable(32, 64, 2),
            _separable(64, 64),
        )  # fmt: skip
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the three maps, finest first."""
        first = self.stage1(image)
        second = self.stage2(first)
        return [first, second, self.stage3(second)]


class _FeaturePyramid(nn.Module):
    """Brings what the coarse maps know down into the fine ones; 64 channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(width, _WIDTH, 1) for width in (64, 128, 256))
        self.merge1, self.merge2 = _conv(_WIDTH, _WIDTH), _conv(_WIDTH, _WIDTH)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return three maps of the same sizes."""
        first, second, third = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        second = self.merge2(second + F.interpolate(third, size=second.shape[2:], mode="nearest"))
        first = self.merge1(first + F.interpolate(second, size=first.shape[2:], mode="nearest"))
        return [first, second, third]


class _Context(nn.Module):
    """SSH's context module: fields of 3, 5 and 7 pixels side by side, (N, 64, H, W) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = _WIDTH // 2, _WIDTH // 4
        self.conv3X3 = _conv(_WIDTH, half, active=False)
        self.conv5X5_1 = _conv(_WIDTH, quarter)
        self.conv5X5_2 = _conv(quarter, quarter, active=False)
        self.conv7X7_2 = _conv(quarter, quarter)
        self.conv7x7_3 = _conv(quarter, quarter, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """Join the three fields."""
        shared = self.conv5X5_1(x)
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(shared), self.conv7x7_3(self.conv7X7_2(shared))], 1))


class _Head(nn.Module):
    """A 1 x 1 convolution that says `width` numbers of every prior: (N, 64, H, W) -> (N, H * W * 2, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv1x1 = nn.Conv2d(_WIDTH, _PRIORS * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One row a prior."""
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.width)


def _heads(width: int) -> nn.ModuleList:
    return nn.ModuleList(_Head(width) for _ in PYRAMID)


def _over(heads: nn.ModuleList, maps: list[Tensor]) -> Tensor:
    return torch.cat([head(one) for head, one in zip(heads, maps, strict=True)], 1)
