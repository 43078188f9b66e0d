"""The degradation grid that every figure is quoted on: one uint8 face at a time, seeded, with a real JPEG codec.

Training degrades batches on the device (`distill/degradations.py`) with the same ranges; calibration, proofs and the
validation table use this one.

Source: ranges in the spirit of GFPGAN's and Real-ESRGAN's blind-restoration settings, fixed for this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Face: TypeAlias = NDArray[np.uint8]
Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Level:
    """One row of the grid; each parameter is drawn uniformly from its range, in the order in which it is applied.

    Args:
        blur: sigma of the Gaussian blur, pixels of a 256-pixel face.
        downscale: factor r by which the face shrinks.
        noise: sigma of the Gaussian noise, grey levels of 255.
        jpeg: JPEG quality, or None for no compression.
        bicubic: shrink by antialiased bicubic instead of area averaging (the x4 and x8 of super-resolution).
    """

    blur: Range
    downscale: Range
    noise: Range
    jpeg: Range | None
    bicubic: bool = False


LEVELS = {
    "mild": Level((0.2, 1.5), (1.5, 3.0), (0.0, 8.0), (60.0, 95.0)),
    "medium": Level((1.0, 3.0), (3.0, 6.0), (2.0, 15.0), (40.0, 80.0)),
    "severe": Level((2.0, 5.0), (6.0, 10.0), (5.0, 25.0), (30.0, 60.0)),
    "x4": Level((0.0, 0.0), (4.0, 4.0), (0.0, 0.0), None, bicubic=True),
    "x8": Level((0.0, 0.0), (8.0, 8.0), (0.0, 0.0), None, bicubic=True),
}
_REFERENCE_SIDE = 256


def degrade_face(face: Face, level: str, seed: int) -> Face:
    """Age one aligned face: blur, shrink, noise, JPEG, and bicubic enlargement back to its size.

    Args:
        face: (S, S, 3) uint8 RGB; blur and shrinking scale with S / 256 so that faces of any size suffer alike.
        level: a key of LEVELS.
        seed: the same seed and level draw the same parameters and noise, whatever the face.

    Returns:
        (S, S, 3) uint8 RGB.

    Raises:
        InputError: an unknown level.
    """
    _check_level(level)
    chosen, side = LEVELS[level], face.shape[0]
    random, blur, small_side, noise = _draw(level, seed)
    blurred = cv2.GaussianBlur(face, (0, 0), blur * side / _REFERENCE_SIDE) if blur > 0 else face
    small = _shrink(np.asarray(blurred, np.uint8), small_side, bicubic=chosen.bicubic)
    if noise > 0:
        noisy = small.astype(np.float64) + random.normal(0.0, noise, small.shape)
        small = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    if chosen.jpeg is not None:
        small = jpeg(small, round(random.uniform(*chosen.jpeg)))
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def lose_resolution(face: Face, level: str, seed: int) -> Face:
    """Do only what bicubic resampling would: shrink and enlarge by the factor that `degrade_face` draws, nothing else.

    Args:
        face: (S, S, 3) uint8 RGB.
        level: a key of LEVELS.
        seed: as for `degrade_face`.

    Raises:
        InputError: an unknown level.
    """
    _check_level(level)
    _, _, small_side, _ = _draw(level, seed)
    small = _shrink(face, small_side, bicubic=True)
    return np.asarray(cv2.resize(small, face.shape[:2], interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(face: Face, quality: int) -> Face:
    """Send RGB uint8 (H, W, 3) through a JPEG file of the given quality (chroma halved, as cameras do)."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise InputError(f"a level of {', '.join(LEVELS)}", f"'{level}'")


def _draw(level: str, seed: int) -> tuple[np.random.Generator, float, int, float]:
    """Draw blur sigma, side of the shrunk face and noise sigma; the generator goes on to noise and JPEG quality."""
    chosen, random = LEVELS[level], np.random.default_rng([seed, *level.encode()])
    blur, factor, noise = (random.uniform(*limits) for limits in (chosen.blur, chosen.downscale, chosen.noise))
    return random, blur, max(8, round(_REFERENCE_SIDE / factor)), noise


def _shrink(face: Face, side: int, *, bicubic: bool) -> Face:
    """Shrink to side x side; bicubic is antialiased by widening the kernel, which OpenCV's own bicubic does not do."""
    if not bicubic:
        return np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    weights = bicubic_weights(face.shape[0], side)
    shrunk = np.einsum("ij,jkc,lk->ilc", weights, face.astype(np.float64), weights, optimize=True)
    return np.clip(np.rint(shrunk), 0, 255).astype(np.uint8)


def bicubic_weights(source: int, target: int) -> NDArray[np.float64]:
    """The (target, source) matrix of antialiased bicubic resampling (a = -0.5, Keys 1981), rows summing to 1."""
    stretch = max(1.0, source / target)
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    distance = np.abs(np.arange(source)[None, :] - centres[:, None]) / stretch
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    return weights / weights.sum(1, keepdims=True)
