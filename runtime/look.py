"""The look of restored faces: sharpness, local contrast and the saturation of skin.

Convention: crops are (S, S, 3) float32 RGB in [0, 1], aligned with the FFHQ template.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .options import PhotoOptions

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Widths of the filters in shares of the crop's side: the finest detail that a crop of 256 holds, and the modelling of
# cheeks and brows.
_FINE, _COARSE = 1 / 180, 1 / 18
_STRONGEST = 1.2  # what sharpness 1 adds of the finest detail; `Look` says so too
# Where skin is looked for in an aligned face: both cheeks and the bridge of the nose; rows and columns in shares.
_CHEEKS = (slice(0.52, 0.66), slice(0.34, 0.66))
_SPREAD = 0.045  # of skin's chroma within one face, in shares of the range


def style_face(crop: NDArray[np.float32], options: PhotoOptions) -> NDArray[np.float32]:
    """Give a restored face the look that was asked for; the very crop comes back where none was.

    Args:
        crop: (S, S, 3) RGB in [0, 1].
        options: `style`, `sharpness` and `saturation`.

    Returns:
        The same shape and range.
    """
    look = options.look
    if look.sharpness == look.contrast == 0 and options.saturation == 1:
        return crop
    styled = crop + np.float32(_STRONGEST * look.sharpness) * _detail(crop, _FINE)
    styled += np.float32(look.contrast) * _detail(crop, _COARSE)
    if options.saturation != 1:
        luma = (styled @ LUMA)[:, :, None]
        styled += skin_of(crop)[:, :, None] * np.float32(options.saturation - 1) * (styled - luma)
    return np.clip(styled, 0, 1).astype(np.float32, copy=False)


def skin_of(crop: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each pixel looks like this face's own skin, (S, S) in [0, 1].

    The reference is the median chroma of the cheeks, so that every complexion and every light is its own measure.
    """
    chroma = cv2.cvtColor(crop, cv2.COLOR_RGB2YCrCb)[:, :, 1:]
    side = crop.shape[0]
    rows, columns = (slice(int(part.start * side), int(part.stop * side)) for part in _CHEEKS)
    skin = np.median(chroma[rows, columns], axis=(0, 1))
    distance = np.square((chroma - skin) / np.float32(_SPREAD)).sum(axis=2)
    return np.exp(-distance / 2).astype(np.float32)


def _detail(crop: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """What lies below a width of luma, (S, S, 1): sharpening colour would make fringes."""
    luma = crop @ LUMA
    blurred = cv2.GaussianBlur(luma, (0, 0), max(0.5, width * crop.shape[0]))
    return (luma - blurred)[:, :, None].astype(np.float32, copy=False)
