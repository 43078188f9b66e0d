"""The blocks that student and teacher are built from, in timm's vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import CheckpointError

# A residual branch that starts small lets a deep body begin close to its input; exactly zero stalls it.
_BRANCH_GAIN = 0.5


def check_levels(channels: tuple[int, ...], encoder_blocks: tuple[int, ...], decoder_blocks: tuple[int, ...]) -> None:
    """Make sure that a U-shaped body has blocks for every level but the lowest, on the way down and up.

    Raises:
        CheckpointError: a configuration whose parts do not fit.
    """
    levels = len(channels)
    if levels < 2 or len(encoder_blocks) != levels - 1 or len(decoder_blocks) != levels - 1:
        raise CheckpointError(
            "one more entry in channels than in encoder_blocks and decoder_blocks",
            f"{levels}, {len(encoder_blocks)} and {len(decoder_blocks)}",
        )


ACTIVATIONS = {
    "prelu": "one learnt slope for the whole layer: exact as LeakyReLU at export, which every delegate fuses",
    "prelu-channel": "a learnt slope for each channel, as in MobileFaceNet; slow on devices",
    "relu": "no slope",
}


def activation(kind: str = "prelu", channels: int = 1) -> nn.Module:
    """Build an activation.

    Args:
        kind: a key of ACTIVATIONS.
        channels: of the layer that it follows.
    """
    if kind == "relu":
        return nn.ReLU()
    return nn.PReLU(channels if kind == "prelu-channel" else 1, init=0.1)


def shrink(conv: nn.Conv2d, gain: float) -> nn.Conv2d:
    """Scale a convolution's first weights by `gain` and begin without a bias."""
    with torch.no_grad():
        conv.weight.mul_(gain)
        if conv.bias is not None:
            conv.bias.zero_()
    return conv


def branch_end(channels: int) -> nn.BatchNorm2d:
    """The normalisation that ends a residual branch, at a small first gain."""
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.weight, _BRANCH_GAIN)
    return norm


class InvertedResidual(nn.Module):
    """Expand (1x1), filter (depthwise 3x3), project (1x1), add: (N, C, H, W) -> (N, C, H, W).

    BatchNorm decides whether this body learns at all in the time that there is (measured: docs/experiments.md); export
    folds it into the convolutions.

    Args:
        channels: C of input and output.
        expansion: hidden channels per channel.
        kind: of the activations, a key of ACTIVATIONS.
        attention: squeeze-and-excitation over the hidden channels.

    Source: MobileNetV2 (Sandler et al. 2018), MobileFaceNet (Chen et al. 2018).
    """

    def __init__(self, channels: int, expansion: int, kind: str = "prelu", *, attention: bool = False) -> None:
        super().__init__()
        hidden = channels * expansion
        self.conv_pw = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.act1 = activation(kind, hidden)
        self.conv_dw = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.act2 = activation(kind, hidden)
        self.se = SqueezeExcite(hidden) if attention else None
        self.conv_pwl = nn.Conv2d(hidden, channels, 1, bias=False)
        self.bn3 = branch_end(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what the branch adds."""
        y = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        if self.se is not None:
            y = self.se(y)
        return x + self.bn3(self.conv_pwl(y))


class SqueezeExcite(nn.Module):
    """Channel attention: each channel is scaled by a gate in (0, 2) that sees the mean of all (Hu et al. 2018).

    The gate begins near 1, so that attention does not shrink a branch that has only begun to learn.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels // reduction, 1)
        self.act1 = activation()  # a ReLU over so few channels can start dead
        self.conv_expand = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        gate = self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * (2 * gate.sigmoid())


class SpatialAttention(nn.Module):
    """Each place is scaled by a gate in (0, 2) that sees mean and maximum over channels (CBAM, Woo et al. 2018)."""

    def __init__(self, kernel_size: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * (2 * self.conv(seen).sigmoid())


class AttentiveResidual(nn.Module):
    """Two 3x3 convolutions with attention, optionally modulated by an embedding, added to the input.

    Args:
        channels: C of input and output.
        embedding: length of the modulating vector; 0 for none.
    """

    def __init__(self, channels: int, embedding: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = activation()
        self.modulation = nn.Linear(embedding, 2 * channels) if embedding else None
        if self.modulation is not None:  # starts as the identity: scale 1, shift 0
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = branch_end(channels)
        self.se = SqueezeExcite(channels)
        self.sa = SpatialAttention()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(N, C, H, W), (N, D) -> (N, C, H, W)."""
        y = self.bn1(self.conv1(x))
        if self.modulation is not None and embedding is not None:
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return x + self.sa(self.se(self.bn2(self.conv2(self.act1(y)))))
