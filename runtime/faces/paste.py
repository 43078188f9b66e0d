"""Pasting a restored face back: only what the restorer changed, only where the mask lets it.

What is pasted is the difference between restored and aligned crop. Detail of the photograph that is finer than the crop
therefore stays, and a restorer that changes nothing changes nothing.

Convention: as in `align`; regions are (top, bottom, left, right) in pixels, the end excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ContractError
from .align import Matrix, invert, scale_of, transform_points
from .poisson import seamless_change

Crop: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]

# The mask is a superellipse over brows, cheeks and chin; what lies beyond it in an FFHQ crop is mostly background.
_CENTRE = (0.5, 0.53)
_RADII = (0.47, 0.46)
_POWER = 3.0
# Share of the radius over which the mask falls from 1 to 0.
_FEATHER = 0.35
# Poisson blending needs no feather; it ends where the feather has fallen to a sixth.
_POISSON_RADIUS = 0.92


def paste_faces(
    photo: Pixels,
    given: Sequence[Crop],
    restored: Sequence[Crop],
    matrices: Sequence[Matrix],
    blend: str = "feather",
    *,
    overwrite: bool = False,
) -> Pixels:
    """Paste restored faces into a copy of a photograph, or into the photograph itself.

    Args:
        photo: (H, W, 3) uint8 or uint16 RGB.
        given: the aligned crops that went in, each (S, S, 3) in [0, 1].
        restored: what came out, the same shapes and range.
        matrices: (2, 3) each, photograph to crop, that the crops were cut with.
        blend: `feather` fades the change out; `poisson` bends it, so that it reaches 0 at the mask's border by itself.
        overwrite: the photograph's own pixels may change, which spares large ones a copy.

    Returns:
        The photograph with the faces, of the same shape and type; every pixel outside the masks is the same to the bit.

    Raises:
        ContractError: crops that are not square, or not all of one shape.
    """
    shapes = {crop.shape for crop in (*given, *restored)}
    if any(shape[0] != shape[1] or shape[2:] != (3,) for shape in shapes) or len(shapes) > 1:
        raise ContractError("square crops (S, S, 3) of one size", ", ".join(map(str, shapes)))
    pasted = photo if overwrite and photo.flags.writeable else photo.copy()
    if given:
        side = given[0].shape[0]
        inside = _distance(side) < _POISSON_RADIUS
        alone = inside.astype(np.float32) if blend == "poisson" else soft_mask(side)
        for before, after, mask, matrix in zip(given, restored, share_masks(alone, matrices), matrices, strict=True):
            change = after - before
            if blend == "poisson":
                change = seamless_change(change, inside)
            _add(pasted, change * mask[:, :, None], matrix)
    return pasted


def _add(photo: Pixels, change: Crop, matrix: Matrix) -> None:
    """Add a change that is 0 at the crop's border to the part of a photograph that the crop covers."""
    region = region_of(matrix, change.shape[0], photo.shape[:2])
    if region is None:
        return
    top, bottom, left, right = region
    highest = np.iinfo(photo.dtype).max
    under = photo[top:bottom, left:right]
    # Where the change is exactly 0, so is what is added, and rounding gives the level back.
    carried = _carry(change * np.float32(highest), matrix, (left, top), (right - left, bottom - top))
    # One pass that adds, rounds and clips.
    cv2.add(under, carried, dst=under, dtype=cv2.CV_8U if photo.dtype == np.uint8 else cv2.CV_16U)


def share_masks(alone: Crop, matrices: Sequence[Matrix]) -> list[Crop]:
    """Masks of the shape of `alone`, one a face, that add up to at most 1 where faces overlap.

    Args:
        alone: (S, S), the mask of a face that overlaps with no other; elsewhere the nearer face has more say.
        matrices: (2, 3) each, photograph to crop.
    """
    side = alone.shape[0]
    claim = np.maximum(1 - _distance(side), 0) ** 2
    masks = []
    for own in matrices:
        others = np.zeros_like(claim)
        for other in matrices:
            if other is not own:
                # From pixels of this crop through the photograph to pixels of the other.
                between = np.vstack([other, (0, 0, 1)]) @ np.vstack([invert(own), (0, 0, 1)])
                others += cv2.warpAffine(
                    claim, between[:2], (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                )
        masks.append(alone * claim / np.maximum(claim + others, np.float32(1e-12)) if others.any() else alone)
    return masks


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
    inside = np.clip((1 - _distance(side)) / _FEATHER, 0, 1)
    mask = (inside * inside * (3 - 2 * inside)).astype(np.float32)
    mask.setflags(write=False)
    return mask


def _distance(side: int) -> Crop:
    """From the face's centre, (side, side): 0 there, 1 where nothing is pasted any more."""
    along = (np.arange(side) + 0.5) / side
    x, y = (np.abs(along - centre) / radius for centre, radius in zip(_CENTRE, _RADII, strict=True))
    return ((x[None, :] ** _POWER + y[:, None] ** _POWER) ** (1 / _POWER)).astype(np.float32)


def _carry(crop: Crop, matrix: Matrix, corner: tuple[int, int], size: tuple[int, int]) -> Crop:
    """Resample a crop-space image into a region of the photograph; beyond the crop it is 0.

    Where the photograph's face is smaller than the crop, the crop is averaged down first, so that nothing aliases.
    """
    to_crop = matrix.copy()
    if scale_of(matrix) > 1:
        side = max(1, round(crop.shape[0] / scale_of(matrix)))
        ratio = side / crop.shape[0]
        crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
        to_crop *= ratio
        to_crop[:, 2] += (ratio - 1) / 2  # pixel centres
    to_crop[:, 2] += to_crop[:, :2] @ np.array(corner, np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    carried = cv2.warpAffine(crop, to_crop, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return carried.astype(np.float32, copy=False)
