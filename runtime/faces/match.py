"""Colour matching: a restored crop takes on the colours of the given one.

Convention: crops are (S, S, 3) float32 RGB, aligned with the FFHQ template.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .paste import Crop, soft_mask

# Colour is compared where it is smooth: a restorer's recovered detail is no fault of colour.
_SMOOTH = 1 / 16
_LEAST_CONTRAST, _MOST_CONTRAST = 0.8, 1.25


def match_colour(given: Crop, restored: Crop) -> Crop:
    """Give a restored crop the mean colour and the large-scale contrast of the given one, each channel for itself.

    Args:
        given, restored: the crop before and after.

    Returns:
        The restored crop, in [0, 1]; equal crops come back unchanged but for rounding.
    """
    weights = soft_mask(given.shape[0])
    sigma = _SMOOTH * given.shape[0]
    smooth = [np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.float32) for crop in (given, restored)]
    (mean, spread), (other_mean, other_spread) = (_moments(crop, weights) for crop in smooth)
    contrast = np.clip(spread / np.maximum(other_spread, 1e-4), _LEAST_CONTRAST, _MOST_CONTRAST)
    # Detail keeps its height: contrast applies to what is smooth alone.
    matched = restored + (smooth[1] - other_mean) * (contrast - 1) + (mean - other_mean)
    return np.clip(matched, 0, 1).astype(np.float32, copy=False)


def _moments(crop: Crop, weights: Crop) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weighted mean and standard deviation of each channel."""
    share = weights / weights.sum()
    mean = np.einsum("ij,ijc->c", share, crop)
    return mean, np.sqrt(np.einsum("ij,ijc->c", share, np.square(crop - mean)))
