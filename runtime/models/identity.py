"""Identity: MobileFaceNet, and the way from restoration crops to identity crops.

Identity networks take `(N, 3, rows, columns)` float32 RGB in [0, 1] and give unit-length embeddings `(N, D)`; identity
distance is 1 - cosine. Ours takes 112 x 112 crops of the ArcFace template.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import CheckpointError, ContractError
from ..faces.align import ARCFACE, FFHQ, Template, fit_similarity, invert, scale_of

# Expansion, channels, repeats, stride of the first: table 1 of the paper.
_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
# The network's total stride: its last map is rows / 16 x columns / 16, and the global depthwise convolution covers it.
_STRIDE = 16


@dataclass(frozen=True)
class MobileFaceNetConfig:
    """The shape of a MobileFaceNet.

    Args:
        rows, columns: pixels of its input; multiples of 16.
        embedding: length of the embedding.
    """

    rows: int = 112
    columns: int = 112
    embedding: int = 128

    def __post_init__(self) -> None:
        if self.rows % _STRIDE or self.columns % _STRIDE or min(self.rows, self.columns) <= 0:
            raise CheckpointError(f"rows and columns divisible by {_STRIDE}", f"{self.rows} x {self.columns}")


class MobileFaceNet(nn.Module):
    """(N, 3, rows, columns) RGB in [0, 1] -> (N, embedding), unit length.

    Names of modules follow the public PyTorch ports, so that their state dicts load.

    Source: MobileFaceNets (Chen et al. 2018), about 1 M parameters.
    """

    def __init__(self, config: MobileFaceNetConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else MobileFaceNetConfig()
        self.conv1 = _ConvBlock(3, 64, 3, stride=2, padding=1)
        self.dw_conv1 = _ConvBlock(64, 64, 3, padding=1, groups=64)
        self.blocks = nn.Sequential(*_bottlenecks(64))
        self.conv2 = _ConvBlock(128, 512, 1)
        last_map = (self.config.rows // _STRIDE, self.config.columns // _STRIDE)
        self.linear7 = _ConvBlock(512, 512, last_map, groups=512, linear=True)
        self.linear1 = _ConvBlock(512, self.config.embedding, 1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        """Embed crops; the scaling to about [-1, 1] happens here."""
        if x.shape[1:] != (3, self.config.rows, self.config.columns):
            raise ContractError(
                f"identity crops (N, 3, {self.config.rows}, {self.config.columns})", f"{tuple(x.shape)}"
            )
        y = self.dw_conv1(self.conv1((x * 255.0 - 127.5) / 128.0))
        y = self.linear1(self.linear7(self.conv2(self.blocks(y))))
        return F.normalize(y.flatten(1))


class _ConvBlock(nn.Module):
    """Convolution, BatchNorm and, unless linear, PReLU with one slope a channel."""

    def __init__(
        self, source: int, target: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: int = 0,
        groups: int = 1, linear: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(source, target, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(target)
        self.prelu = nn.Identity() if linear else nn.PReLU(target)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.bn(self.conv(x)))


class _Bottleneck(nn.Module):
    """Expand, filter depthwise, project without activation; add the input where shapes allow."""

    def __init__(self, source: int, target: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = source * expansion
        self.residual = stride == 1 and source == target
        self.conv = nn.Sequential(
            nn.Conv2d(source, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.PReLU(hidden),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.PReLU(hidden),
            nn.Conv2d(hidden, target, 1, bias=False),
            nn.BatchNorm2d(target),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def _bottlenecks(channels: int) -> list[_Bottleneck]:
    blocks: list[_Bottleneck] = []
    for expansion, width, repeats, first_stride in _BOTTLENECKS:
        for repeat in range(repeats):
            blocks.append(_Bottleneck(channels, width, 1 if repeat else first_stride, expansion))
            channels = width
    return blocks


def faces_to_identity_crops(faces: Tensor, template: Template = ARCFACE, aligned: Template = FFHQ) -> Tensor:
    """Resample restoration crops to identity crops, differentiably and without aliasing.

    Both are aligned, so that one fixed similarity between the two templates serves every face. Where the crop shrinks
    the face, it is sampled on a finer grid and averaged.

    Args:
        faces: (N, 3, S, S) RGB in [0, 1].
        template: what the identity network was trained on; its width and height are the crop's.
        aligned: the template that the faces are aligned with, as square crops.

    Returns:
        (N, 3, template.height, template.width).

    Raises:
        ContractError: faces that are not square RGB.
    """
    if faces.ndim != 4 or faces.shape[1] != 3 or faces.shape[2] != faces.shape[3]:
        raise ContractError("square faces (N, 3, S, S)", f"{tuple(faces.shape)}")
    size = faces.shape[3]
    to_crop = fit_similarity(aligned.scaled(size), template.scaled(template.width))
    factor = max(1, math.ceil(1.0 / scale_of(to_crop) - 1e-6))
    theta = _normalised(invert(to_crop), (template.width, template.height), size)
    theta = torch.as_tensor(theta, dtype=faces.dtype, device=faces.device).expand(faces.shape[0], 2, 3)
    shape = [faces.shape[0], 3, template.height * factor, template.width * factor]
    grid = F.affine_grid(theta, shape, align_corners=False)
    crops = F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return crops if factor == 1 else F.avg_pool2d(crops, factor)


def _normalised(matrix: NDArray[np.float64], crop: tuple[int, int], size: int) -> NDArray[np.float64]:
    """Rewrite a crop-to-face matrix in pixels for torch's coordinates, where -1 and 1 are the outer pixel edges."""
    width, height = crop
    to_pixels = np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])
    theta = matrix @ to_pixels
    theta[:, 2] += 0.5
    theta *= 2.0 / size
    theta[:, 2] -= 1.0
    return theta
