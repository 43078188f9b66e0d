"""Colour of a whole photograph: white balance, undoing fading, and a film-like grade.

Every correction is one curve a channel, measured on a small copy, so that 100 megapixels need no copy in float.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from .decode import Pixels
from .images import to_float

_MEASURED = 256  # side of the copy that is looked at
_NORM = 6  # of "shades of grey": between the mean (1) and the brightest (infinity)
_MOST_GAIN = 1.8  # a sunset is not a cast
_CLIPPED = 0.1  # per cent of each channel that may become black, and white
_LEAST_RANGE = 0.25  # fog is no fading: levels closer than this are stretched no further
_VIVID = 0.4  # where the whole range had gone
# The grade: contrast, and how far shadows go to teal and highlights to orange, for red, green and blue.
_CONTRAST = 0.25
_SHADOWS, _HIGHLIGHTS = np.array([-0.03, 0.005, 0.03]), np.array([0.03, 0.005, -0.03])

Curves = NDArray[np.float64]


def correct_colour(rgb: Pixels, wish: str) -> Pixels:
    """Balance the light, or undo fading as well.

    Args:
        rgb: (H, W, 3) uint8 or uint16.
        wish: `keep`, `balance` or `revive`.

    Returns:
        The same shape and type; the very array for `keep`. What is grey stays grey.
    """
    if wish == "keep":
        return rgb
    small = _small(rgb)
    if wish == "balance":
        return _through(rgb, _balance(small))
    curves, fading = _stretch(small)
    revived = _through(rgb, curves)
    grey = np.ptp(small, axis=2).max() == 0
    return revived if grey else _more_vivid(revived, 1 + _VIVID * fading)


def grade(rgb: Pixels) -> Pixels:
    """Give a photograph the tones of film: an S-shaped curve, teal shadows and orange highlights; grey stays grey."""
    x = np.linspace(0, 1, _levels(rgb))
    curve = x + _CONTRAST * x * (1 - x) * (2 * x - 1)
    if np.ptp(_small(rgb), axis=2).max() == 0:
        return _through(rgb, np.repeat(curve[:, None], 3, axis=1))
    # Black and white stay what they are; the tints swell in between.
    tint = 4 * (x * (1 - x))[:, None] * (_SHADOWS * (1 - x)[:, None] + _HIGHLIGHTS * x[:, None])
    return _through(rgb, curve[:, None] + tint)


def _small(rgb: Pixels) -> NDArray[np.float32]:
    """A copy to measure, in float32 [0, 1]; averaged, so that noise does not decide what is black."""
    shrink = max(1.0, max(rgb.shape[:2]) / _MEASURED)
    size = (max(1, round(rgb.shape[1] / shrink)), max(1, round(rgb.shape[0] / shrink)))
    return to_float(cast("Pixels", cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)))


def _balance(small: NDArray[np.float32]) -> Curves | None:
    """Gains that make the light neutral.

    Source: Finlayson and Trezzi 2004, Shades of Gray and Colour Constancy.
    """
    usable = small.reshape(-1, 3)[(small.max(axis=2) < 0.98).reshape(-1)]  # what is clipped has no colour left
    if not len(usable):
        return None
    light = np.maximum((usable.astype(np.float64) ** _NORM).mean(axis=0) ** (1 / _NORM), 1e-3)
    gains = np.clip(light.mean() / light, 1 / _MOST_GAIN, _MOST_GAIN)
    return np.array([0.0, 1.0])[:, None] * gains


def _stretch(small: NDArray[np.float32]) -> tuple[Curves, float]:
    """Each channel's range back to the whole, and the middle tones of all channels nearer to one value.

    Returns:
        The curves, and how much of the range the fading had taken, [0, 1].
    """
    low, middle, high = np.percentile(small.reshape(-1, 3).astype(np.float64), (_CLIPPED, 50, 100 - _CLIPPED), axis=0)
    span = np.maximum(high - low, _LEAST_RANGE)
    x = np.linspace(0, 1, 1024)[:, None]
    stretched = np.clip((x - low) / span, 0, 1)
    placed = np.clip((middle - low) / span, 0.05, 0.95)
    # Half of the way to a common middle: a photograph of a meadow may keep its green.
    wanted = (placed + placed.mean()) / 2
    return stretched ** (np.log(wanted) / np.log(placed)), float(1 - span.mean())


def _through(rgb: Pixels, curves: Curves | None) -> Pixels:
    """Send each channel through its curve (K, 3), given at K even steps over [0, 1]."""
    if curves is None:
        return rgb
    highest = _levels(rgb) - 1
    x = np.linspace(0, 1, highest + 1)
    steps = np.linspace(0, 1, len(curves))
    tables = np.stack([np.interp(x, steps, curves[:, channel]) for channel in range(3)], axis=1)
    tables = np.clip(np.rint(tables * highest), 0, highest).astype(rgb.dtype)
    sent = np.empty_like(rgb)
    for channel in range(3):
        sent[:, :, channel] = tables[:, channel][rgb[:, :, channel]]
    return sent


def _more_vivid(rgb: Pixels, factor: float) -> Pixels:
    """Move every pixel away from its luma."""
    matrix = factor * np.eye(3) + (1 - factor) * np.array([[0.299, 0.587, 0.114]])
    return cast("Pixels", cv2.transform(rgb, matrix).astype(rgb.dtype, copy=False))


def _levels(rgb: Pixels) -> int:
    return int(np.iinfo(rgb.dtype).max) + 1
