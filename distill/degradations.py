"""Degradations for training: a whole batch at once, on the device, from a seed.

Every resampling step is a matrix, so that faces with different blur and scale share one batched multiplication:
`small = D face D^T` with D = shrink x blur, and `aged = U small U^T` with U = bicubic enlargement. The small faces
sit in the top-left corner of a common square; JPEG works on its 8 x 8 blocks. The ranges are the grid's, from
`runtime/faces/degrade.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.faces.degrade import LEVELS, Level, bicubic_weights

# ITU-T T.81, annex K: the tables that every encoder scales by its quality setting.
_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA_TABLE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)  # fmt: skip
# ITU-R BT.601, full range, as JFIF prescribes.
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_BLOCK = 16  # two 8 x 8 blocks: the smallest square that halved chroma fills
_SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))


@dataclass(frozen=True)
class Ageing:
    """How a batch is aged.

    Args:
        mix: weight of each level of the grid; each face draws one.
        clean: share of faces left as they are, so that restraint is learnt too.
        grey: share of faces whose input and target are both grey.
        sepia: share of faces whose input and target are both sepia.
        faded: share of faces whose input alone has lost contrast.
    """

    mix: Mapping[str, float]
    clean: float = 0.0
    grey: float = 0.0
    sepia: float = 0.0
    faded: float = 0.0


def age(faces: Tensor, ageing: Ageing, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Age a batch.

    Args:
        faces: (N, 3, S, S) in [0, 1], S divisible by 16.
        ageing: what may happen to them.
        generator: on the CPU; it alone decides, so that a seed gives the same parameters on every device.

    Returns:
        The aged faces and the faces to restore them to, both (N, 3, S, S) in [0, 1].
    """
    target = _tone(faces, ageing, generator)
    names = list(ageing.mix)
    weights = torch.tensor([ageing.mix[name] for name in names])
    drawn = torch.multinomial(weights, len(faces), replacement=True, generator=generator).tolist()
    aged = _degrade(_fade(target, ageing.faded, generator), [LEVELS[names[index]] for index in drawn], generator)
    untouched = (torch.rand(len(faces), generator=generator) < ageing.clean).nonzero()[:, 0].to(faces.device)
    return aged.index_copy(0, untouched, target[untouched]), target


def _degrade(faces: Tensor, levels: list[Level], generator: torch.Generator) -> Tensor:
    size, device = faces.shape[-1], faces.device
    drawn = torch.rand(len(levels), 4, generator=generator).tolist()
    blur, sides, noise, quality = [], [], [], []
    for level, (u_blur, u_scale, u_noise, u_jpeg) in zip(levels, drawn, strict=True):
        blur.append(_between(level.blur, u_blur) * size / 256)
        sides.append(max(8, round(256 / _between(level.downscale, u_scale))))
        noise.append(_between(level.noise, u_noise) / 255)
        quality.append(_between(level.jpeg, u_jpeg) if level.jpeg is not None else math.inf)
    square = _BLOCK * math.ceil(max(sides) / _BLOCK)
    shrink = [
        _shrink_matrix(size, side, sigma, level.bicubic) for level, side, sigma in zip(levels, sides, blur, strict=True)
    ]
    down = _stack(shrink, square, size, device)
    small = down @ faces @ down.mT
    spread = torch.randn(small.shape, generator=generator).to(device)
    small = _quantise(small + spread * torch.tensor(noise, device=device)[:, None, None, None])
    small = _edge_pad(small, sides)
    small = _quantise(_jpeg(small, torch.tensor(quality, device=device)))
    up = _stack([_enlarge_matrix(side, size) for side in sides], size, square, device)
    return _quantise(up @ small @ up.mT)


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * share


def _quantise(faces: Tensor) -> Tensor:
    """Round to the 256 levels of a file; each step of the real path passes through uint8."""
    return faces.clamp(0, 1).mul_(255).round_().div_(255)


def _shrink_matrix(size: int, side: int, sigma: float, bicubic: bool) -> Tensor:  # noqa: FBT001 - a column of the grid
    if bicubic:
        return torch.from_numpy(bicubic_weights(size, side)).float()
    shrink = _area_matrix(size, side)
    return shrink if sigma <= 0 else shrink @ _blur_matrix(size, sigma)


@lru_cache(maxsize=512)
def _area_matrix(size: int, side: int) -> Tensor:
    """(side, size): each row averages the source pixels that its target pixel covers, by overlap."""
    edges = torch.arange(side + 1, dtype=torch.float64) * size / side
    pixel = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp(min=0) * side / size).float()


def _blur_matrix(size: int, sigma: float) -> Tensor:
    """(size, size): Gaussian blur; what would reach beyond the edge is mirrored back (reflect 101)."""
    radius = min(math.ceil(4 * sigma), size - 1)
    offset = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offset.double() / sigma) ** 2)
    column = torch.arange(size)[:, None] + offset
    column = column.abs()
    column = torch.where(column >= size, 2 * (size - 1) - column, column)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, column, (kernel / kernel.sum()).expand(size, -1).contiguous())
    return matrix.float()


@lru_cache(maxsize=512)
def _enlarge_matrix(side: int, size: int) -> Tensor:
    """(size, side): bicubic enlargement as image files usually meet it (a = -0.75, OpenCV's), edges repeated."""
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * side / size - 0.5
    base = place.floor()
    matrix = torch.zeros(size, side, dtype=torch.float64)
    for tap in range(-1, 3):
        distance = (place - (base + tap)).abs()
        near = (1.25 * distance - 2.25) * distance**2 + 1
        far = ((-0.75 * distance + 3.75) * distance - 6.0) * distance + 3.0
        weight = torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
        matrix.scatter_add_(1, (base + tap).long().clamp(0, side - 1)[:, None], weight[:, None])
    return matrix.float()


def _stack(matrices: list[Tensor], rows: int, columns: int, device: torch.device) -> Tensor:
    """(N, 1, rows, columns) from matrices of different sizes, each in the top-left corner."""
    padded = [F.pad(matrix, (0, columns - matrix.shape[1], 0, rows - matrix.shape[0])) for matrix in matrices]
    return torch.stack(padded)[:, None].to(device)


def _edge_pad(small: Tensor, sides: list[int]) -> Tensor:
    """Repeat each face's last row and column into the rest of the square, as encoders do to fill their blocks."""
    square = small.shape[-1]
    index = torch.arange(square)[None].minimum(torch.tensor(sides)[:, None] - 1).to(small.device)
    rows = index[:, None, :, None].expand(-1, small.shape[1], -1, square)
    columns = index[:, None, None, :].expand(-1, small.shape[1], square, -1)
    return small.gather(2, rows).gather(3, columns)


def _jpeg(faces: Tensor, quality: Tensor) -> Tensor:
    """Quantise faces (N, 3, P, P) in [0, 1] as a baseline JPEG file with halved chroma does; infinite quality: not."""
    matrix = torch.tensor(_TO_YCBCR, device=faces.device)
    pixels = torch.einsum("rc,nchw->nrhw", matrix, faces * 255)
    luma = _quantise_blocks(pixels[:, :1] - 128, _LUMA_TABLE, quality) + 128
    chroma = _quantise_blocks(F.avg_pool2d(pixels[:, 1:], 2), _CHROMA_TABLE, quality)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    inverse = torch.linalg.inv(matrix)
    decoded = torch.einsum("rc,nchw->nrhw", inverse, torch.cat([luma, chroma], 1)) / 255
    return torch.where(torch.isinf(quality)[:, None, None, None], faces, decoded)


def _quantise_blocks(plane: Tensor, table: tuple[int, ...], quality: Tensor) -> Tensor:
    count, channels, side, _ = plane.shape
    finite = quality.clamp(max=100)
    scale = torch.where(finite < 50, 5000 / finite, 200 - 2 * finite)
    steps = ((torch.tensor(table, device=plane.device).float() * scale[:, None] + 50) / 100).floor().clamp(1, 255)
    steps = steps.reshape(count, 1, 1, 1, 8, 8)
    dct = _dct_matrix(plane.device)
    blocks = plane.reshape(count, channels, side // 8, 8, side // 8, 8).transpose(3, 4)
    coefficients = ((dct @ blocks @ dct.T) / steps).round() * steps
    return (dct.T @ coefficients @ dct).transpose(3, 4).reshape(plane.shape)


def _dct_matrix(device: torch.device) -> Tensor:
    angle = np.outer(np.arange(8), 2 * np.arange(8) + 1) * np.pi / 16
    matrix = np.cos(angle) * 0.5
    matrix[0] /= math.sqrt(2)
    return torch.from_numpy(matrix).float().to(device)


def _some(faces: Tensor, share: float, generator: torch.Generator, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change a random share of the faces; only those drawn cost anything."""
    drawn = (torch.rand(len(faces), generator=generator) < share).nonzero()[:, 0].to(faces.device)
    return faces if len(drawn) == 0 else faces.index_copy(0, drawn, change(faces[drawn]))


def _tone(faces: Tensor, ageing: Ageing, generator: torch.Generator) -> Tensor:
    """Turn some faces grey and some sepia: a restorer must keep the tone that it is given."""
    luma = torch.tensor(_TO_YCBCR[0], device=faces.device)
    brown = torch.tensor(_SEPIA, device=faces.device)
    faces = _some(
        faces,
        ageing.grey,
        generator,
        lambda chosen: torch.einsum("c,nchw->nhw", luma, chosen)[:, None].expand_as(chosen),
    )
    return _some(
        faces, ageing.sepia, generator, lambda chosen: torch.einsum("rc,nchw->nrhw", brown, chosen).clamp(0, 1)
    )


def _fade(faces: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Compress the contrast of some faces towards a lifted black and a dulled white."""

    def change(chosen: Tensor) -> Tensor:
        black, white = torch.rand(2, len(chosen), generator=generator).to(chosen.device)[..., None, None, None]
        return 0.15 * black + chosen * (1 - 0.15 * black - 0.2 * white)

    return _some(faces, share, generator, change)
