"""The teacher: a U-shaped encoder-decoder with channel and spatial attention, guided by who is in the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from .blocks import AttentiveResidual, check_levels, shrink
from .identity import MobileFaceNet, MobileFaceNetConfig, faces_to_identity_crops


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher's shape.

    Args:
        channels: width of each level, from stride `stem_stride` downwards; each level halves the resolution.
        encoder_blocks: residual blocks a level on the way down; one entry a level but the last.
        middle_blocks: residual blocks at the lowest level.
        decoder_blocks: residual blocks a level on the way up, from the finest downwards, like `encoder_blocks`.
        stem_stride: input pixels per finest feature, each way.
        guide: the identity network whose embedding of the input modulates the middle and the decoder.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    encoder_blocks: tuple[int, ...] = (1, 2)
    middle_blocks: int = 4
    decoder_blocks: tuple[int, ...] = (2, 2)
    stem_stride: int = 4
    guide: MobileFaceNetConfig = field(default_factory=MobileFaceNetConfig)

    def __post_init__(self) -> None:
        check_levels(self.channels, self.encoder_blocks, self.decoder_blocks)

    @property
    def multiple(self) -> int:
        """S must be divisible by this."""
        return self.stem_stride * 2 ** (len(self.channels) - 1)


class TeacherRestorer(nn.Module):
    """(N, 3, S, S) RGB in [0, 1] -> the restored faces, same shape; S divisible by `config.multiple`.

    The output is the input plus a learnt residual and may overshoot [0, 1] by a little, as the student's.
    The guide is part of the checkpoint but not of the training: its weights are frozen and it stays in eval mode.
    """

    def __init__(self, config: TeacherConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else TeacherConfig()
        widths, stride = self.config.channels, self.config.stem_stride
        known = self.config.guide.embedding
        self.guide = MobileFaceNet(self.config.guide).requires_grad_(requires_grad=False)
        self.stem = nn.Sequential(nn.PixelUnshuffle(stride), nn.Conv2d(3 * stride**2, widths[0], 3, padding=1))
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, (width, wider) in enumerate(pairwise(widths)):
            self.encoder.append(_Stage(width, self.config.encoder_blocks[level]))
            self.down.append(nn.Conv2d(width, wider, 2, 2))
            self.up.append(nn.Sequential(nn.Conv2d(wider, width, 1), nn.Upsample(scale_factor=2, mode="bilinear")))
            self.decoder.append(_Stage(width, self.config.decoder_blocks[level], known))
        self.middle = _Stage(widths[-1], self.config.middle_blocks, known)
        last = nn.Conv2d(widths[0], 3 * stride**2, 3, padding=1)
        self.tail = nn.Sequential(shrink(last, 0.02), nn.PixelShuffle(stride))

    def train(self, mode: bool = True) -> TeacherRestorer:  # noqa: FBT001, FBT002 - torch's own signature
        """Switch modes; the guide's normalisation statistics are part of what it knows, so it never leaves eval."""
        super().train(mode)
        self.guide.eval()
        return self

    def embed(self, faces: Tensor) -> Tensor:
        """Identity embedding of faces (N, 3, S, S) in [0, 1]: (N, D), unit length, without a gradient."""
        return self.guide(faces_to_identity_crops(faces.detach().float())).detach()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Restore a batch of faces.

        Args:
            x: faces (N, 3, S, S).
            embedding: (N, D) of whole faces, for training on crops of them; None embeds `x` itself.
        """
        known = self.embed(x) if embedding is None else embedding
        y, skips = self.stem(x), []
        for encode, down in zip(self.encoder, self.down, strict=True):
            y = encode(y)
            skips.append(y)
            y = down(y)
        y = self.middle(y, known)
        for up, decode, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips), strict=True):
            y = decode(up(y) + skip, known)
        return x + self.tail(y)


class _Stage(nn.ModuleList):
    """Residual blocks of one resolution, in a row."""

    def __init__(self, channels: int, blocks: int, embedding: int = 0) -> None:
        super().__init__([AttentiveResidual(channels, embedding) for _ in range(blocks)])

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x
