"""The student: a U-shaped MobileFaceNet-style restorer small enough for a phone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from ..errors import CheckpointError
from .blocks import ACTIVATIONS, InvertedResidual, activation, check_levels, shrink


@dataclass(frozen=True)
class StudentConfig:
    """The student's shape.

    The last three are for experiments: what each buys and costs is in docs/experiments.md. Device files are written of
    the default activation without attention.

    Args:
        channels: width of each level, from the stem's stride downwards; each level halves the resolution.
        encoder_blocks: inverted residuals a level on the way down; one entry a level but the last.
        middle_blocks: inverted residuals at the lowest level.
        decoder_blocks: inverted residuals a level on the way up, from stride 4 downwards, like `encoder_blocks`.
        expansion: hidden channels per channel in a block.
        stem_stride: how many times smaller than the image the highest level is; a power of 2.
        activation: a key of `blocks.ACTIVATIONS`.
        attention: squeeze-and-excitation in every block.
    """

    channels: tuple[int, ...] = (32, 96, 192, 224)
    encoder_blocks: tuple[int, ...] = (1, 1, 1)
    middle_blocks: int = 2
    decoder_blocks: tuple[int, ...] = (2, 1, 0)
    expansion: int = 2
    stem_stride: int = 4
    activation: str = "prelu"
    attention: bool = False

    def __post_init__(self) -> None:
        check_levels(self.channels, self.encoder_blocks, self.decoder_blocks)
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(f"an activation of {', '.join(ACTIVATIONS)}", repr(self.activation))
        if self.stem_stride not in (1, 2, 4, 8, 16):
            raise CheckpointError("a stem's stride of 1, 2, 4, 8 or 16", repr(self.stem_stride))

    @property
    def multiple(self) -> int:
        """S must be divisible by this."""
        return self.stem_stride * 2 ** (len(self.channels) - 1)


# Sizes follow the cost model measured for this kind of body; the figures are in docs/experiments.md.
STUDENT_PRESETS = {
    "nano": StudentConfig((24, 64, 128, 160), (1, 1, 1), 1, (2, 1, 1)),
    "base": StudentConfig(),
    "plus": StudentConfig((48, 128, 216, 240), (1, 1, 2), 2, (2, 2, 2)),
}


class StudentRestorer(nn.Module):
    """(N, 3, S, S) RGB in [0, 1] -> the restored faces, same shape; S divisible by `config.multiple`.

    The output is the input plus a learnt residual and may overshoot [0, 1] by a little: training wants the gradient
    there, and the backends and exported files clamp. Every stride is a convolution whose kernel is its stride, so that
    no engine needs a padding op, and every join is an addition.
    """

    def __init__(self, config: StudentConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else STUDENT_PRESETS["base"]
        widths, stride = self.config.channels, self.config.stem_stride
        self.stem = nn.Conv2d(3, widths[0], stride, stride)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, (width, wider) in enumerate(pairwise(widths)):
            self.encoder.append(_stage(width, self.config.encoder_blocks[level], self.config))
            self.down.append(nn.Conv2d(width, wider, 2, 2))
            self.up.append(nn.Sequential(nn.Conv2d(wider, width, 1), _upsample()))
            self.decoder.append(_stage(width, self.config.decoder_blocks[level], self.config))
        self.middle = _stage(widths[-1], self.config.middle_blocks, self.config)
        self.tail = nn.Sequential(
            nn.Conv2d(widths[0], widths[0], 3, padding=1, groups=widths[0]),
            activation(self.config.activation, widths[0]),
            _near_zero(nn.Conv2d(widths[0], 3 * stride**2, 1)),
            nn.PixelShuffle(stride),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch of faces."""
        y, skips = self.stem(x), []
        for encode, down in zip(self.encoder, self.down, strict=True):
            y = encode(y)
            skips.append(y)
            y = down(y)
        y = self.middle(y)
        for up, decode, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips), strict=True):
            y = decode(up(y) + skip)
        return x + self.tail(y)


def _stage(channels: int, blocks: int, config: StudentConfig) -> nn.Sequential:
    kind, attention = config.activation, config.attention
    return nn.Sequential(
        *(InvertedResidual(channels, config.expansion, kind, attention=attention) for _ in range(blocks))
    )


def _upsample() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def _near_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """Begin close to "output = input", but not exactly: exact zeros leave the body without a gradient."""
    return shrink(conv, 0.1)
