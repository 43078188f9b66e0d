"""Pasting a restored face back: only what the restorer changed, only where the mask lets it.

What is pasted is the difference between restored and aligned crop. Detail of the photograph that is finer than the crop
therefore stays, and a restorer that changes nothing changes nothing.

Convention: as in `align`; regions are (top, bottom, left, right) in pixels, the end excluded.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ContractError
from .align import Matrix, invert, scale_of, transform_points

Crop: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]

# The mask is a superellipse over brows, cheeks and chin; what lies beyond it in an FFHQ crop is mostly background.
_CENTRE = (0.5, 0.53)
_RADII = (0.47, 0.46)
_POWER = 3.0
# Share of the radius over which the mask falls from 1 to 0.
_FEATHER = 0.35


def paste_face(photo: Pixels, given: Crop, restored: Crop, matrix: Matrix) -> Pixels:
    """Paste one restored face into a copy of a photograph.

    Args:
        photo: (H, W, 3) uint8 or uint16 RGB.
        given: the aligned crop that went in, (S, S, 3) in [0, 1].
        restored: what came out, the same shape and range.
        matrix: (2, 3), photograph to crop, that the crop was cut with.

    Returns:
        The photograph with the face, of the same shape and type; every pixel outside the mask is the same to the bit.

    Raises:
        ContractError: crops of different shapes.
    """
    if given.shape != restored.shape or given.ndim != 3 or given.shape[0] != given.shape[1]:
        raise ContractError("two square crops of one shape", f"{given.shape} and {restored.shape}")
    pasted = photo.copy()
    region = region_of(matrix, given.shape[0], photo.shape[:2])
    if region is None:
        return pasted
    top, bottom, left, right = region
    size = (right - left, bottom - top)
    change = _carry(restored - given, matrix, (left, top), size)
    mask = _carry(soft_mask(given.shape[0]), matrix, (left, top), size)[:, :, None]
    highest = np.iinfo(photo.dtype).max
    under = photo[top:bottom, left:right]
    blended = np.clip(np.rint(under + mask * change * highest), 0, highest).astype(photo.dtype)
    # Adding an exact zero would be the same; where() makes it true whatever the arithmetic does.
    pasted[top:bottom, left:right] = np.where(mask > 0, blended, under)
    return pasted


def region_of(matrix: Matrix, side: int, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """The part of a photograph of `shape` (H, W) that a crop of `side` covers, or None where they do not meet."""
    corners = np.array([[0, 0], [side - 1, 0], [0, side - 1], [side - 1, side - 1]], np.float64)
    covered = transform_points(invert(matrix), corners)
    left, top = np.floor(covered.min(0)).astype(int)
    right, bottom = np.ceil(covered.max(0)).astype(int) + 1
    top, bottom, left, right = max(0, top), min(shape[0], bottom), max(0, left), min(shape[1], right)
    return (top, bottom, left, right) if top < bottom and left < right else None


@lru_cache(maxsize=8)
def soft_mask(side: int) -> Crop:
    """How much of a face is pasted: (side, side), 1 in the middle, falling smoothly to exactly 0 inside the border."""
    along = (np.arange(side) + 0.5) / side
    x, y = (np.abs(along - centre) / radius for centre, radius in zip(_CENTRE, _RADII, strict=True))
    distance = (x[None, :] ** _POWER + y[:, None] ** _POWER) ** (1 / _POWER)
    inside = np.clip((1 - distance) / _FEATHER, 0, 1)
    mask = (inside * inside * (3 - 2 * inside)).astype(np.float32)
    mask.setflags(write=False)
    return mask


def _carry(crop: Crop, matrix: Matrix, corner: tuple[int, int], size: tuple[int, int]) -> Crop:
    """Resample a crop-space image into a region of the photograph; beyond the crop it is 0.

    Where the photograph's face is smaller than the crop, the crop is averaged down first, so that nothing aliases.
    """
    shrink = math.floor(scale_of(matrix) + 1e-6)
    to_crop = matrix.copy()
    if shrink > 1:
        side = max(1, round(crop.shape[0] / shrink))
        ratio = side / crop.shape[0]
        crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
        to_crop *= ratio
        to_crop[:, 2] += (ratio - 1) / 2  # pixel centres
    to_crop[:, 2] += to_crop[:, :2] @ np.array(corner, np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(crop, to_crop, size, flags=flags, borderMode=cv2.BORDER_CONSTANT).astype(
        np.float32, copy=False
    )
