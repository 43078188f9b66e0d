"""Poisson blending of a change: it is bent until it vanishes at the mask's border, and its gradients stay.

OpenCV's `seamlessClone` does the same to 8-bit pictures; a test holds the two together.
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Change: TypeAlias = NDArray[np.float32]

# Jacobi rounds on each level of the pyramid: what is left is below a tenth of an 8-bit level.
_ROUNDS = 40
_SMALLEST = 8
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4


def seamless_change(change: Change, inside: NDArray[np.bool_]) -> Change:
    """Take from a change the membrane that spans its values on a mask's border, so that none is left there.

    This is Poisson blending: the gradients inside stay as near to the change's as a border of 0 allows. Done on the
    change, not on levels, it holds for 16 bits as for 8, and no change stays no change.

    Args:
        change: (S, S, 3), what the restorer changed.
        inside: (S, S), where it may change the photograph; False along the crop's border.

    Returns:
        (S, S, 3); 0 outside.

    Source: Pérez et al. 2003, Poisson Image Editing; solved coarse to fine.
    """
    free = inside.astype(np.uint8)
    border = cv2.dilate(free, np.ones((3, 3), np.uint8)) - free
    return ((change - _membrane(change, border > 0, inside)) * inside[:, :, None]).astype(np.float32, copy=False)


def _membrane(values: Change, fixed: NDArray[np.bool_], free: NDArray[np.bool_]) -> Change:
    """The smoothest surface over `free` that equals `values` where `fixed` (both (S, S)): (S, S, 3)."""
    side = values.shape[0]
    known = fixed[:, :, None].astype(np.float32)
    if side > _SMALLEST:
        half = (side // 2, side // 2)
        weight = _shrunk(known[:, :, 0], half)
        coarse = (_shrunk(values * known, half) / np.maximum(weight, 1e-6)[:, :, None]).astype(np.float32)
        surface = _membrane(coarse, weight > 0, _shrunk(free.astype(np.float32), half) > 0)
        surface = np.asarray(cv2.resize(surface, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
    else:
        mean = (values * known).sum((0, 1)) / max(1.0, float(known.sum()))
        surface = np.broadcast_to(mean, values.shape).astype(np.float32)
    for _ in range(_ROUNDS):
        surface = np.where(fixed[:, :, None], values, _neighbours(surface))
    return surface.astype(np.float32, copy=False)


def _shrunk(picture: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def _neighbours(surface: Change) -> Change:
    """The mean of each pixel's four neighbours."""
    return np.asarray(cv2.filter2D(surface, -1, _CROSS, borderType=cv2.BORDER_REPLICATE), np.float32)
