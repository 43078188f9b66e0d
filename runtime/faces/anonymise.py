"""Makes faces unrecognisable for good: a few noisy patches of colour, blurred, where a face was.

Blur alone can be undone and fine mosaics can be matched. Here each face is reduced to 4 x 4 mean colours, which are
changed at random; nothing else of it enters the picture. The random changes follow from the pixels that are lost, so
that the same photograph gives the same file, and nobody who has only the file can repeat them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..decode import Pixels
from .detect import Detection

_CELLS = 4
_NOISE = 0.06  # of the range: more than what tells one complexion's modelling from another's
# How much wider and higher than the detector's box the covered ellipse is: ears, hair line and chin belong to a face.
_WIDER, _HIGHER = 1.5, 1.6
_FEATHER = 0.12  # of the radius, outside the ellipse


def anonymise_faces(rgb: Pixels, faces: Sequence[Detection]) -> Pixels:
    """Cover faces in a copy of a photograph.

    Args:
        rgb: (H, W, 3) uint8 or uint16.
        faces: where they are.

    Returns:
        The same shape and type; the very array where there is no face to cover.
    """
    if not faces:
        return rgb
    covered = rgb.copy()
    for face in faces:
        _cover(covered, face)
    return covered


def _cover(rgb: Pixels, face: Detection) -> None:
    centre, radii = covering_ellipse(face)
    reach = np.ceil(radii * (1 + _FEATHER)) + 1
    left, top = np.maximum(0, np.floor(centre - reach)).astype(int)
    right, bottom = np.minimum((rgb.shape[1], rgb.shape[0]), np.ceil(centre + reach) + 1).astype(int)
    if left >= right or top >= bottom:
        return
    region = rgb[top:bottom, left:right]
    y, x = np.ogrid[top:bottom, left:right]
    distance = np.sqrt(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2)
    cover = np.clip((1 + _FEATHER - distance) / _FEATHER, 0, 1)[:, :, None].astype(np.float32)
    patches = _patches(region)
    # Inside the ellipse the cover is 1: the product with 0 leaves nothing of the face.
    mixed = region * (1 - cover) + patches * cover
    region[...] = np.clip(np.rint(mixed), 0, np.iinfo(rgb.dtype).max).astype(rgb.dtype)


def covering_ellipse(face: Detection) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and radii (x, y) of what is covered; it also holds every landmark, where a box was drawn too tightly."""
    left, top, right, bottom = face.box
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    radii = np.array([right - left, bottom - top]) / 2
    outermost = np.abs(face.landmarks - centre).max(axis=0)
    return centre, np.maximum(np.maximum(radii, outermost), 4.0) * (_WIDER, _HIGHER)


def _patches(region: Pixels) -> NDArray[np.float32]:
    """4 x 4 mean colours of a region, changed at random and blurred together; float32 levels of the same shape."""
    highest = float(np.iinfo(region.dtype).max)
    seed = int.from_bytes(hashlib.sha256(np.ascontiguousarray(region).tobytes()).digest()[:16])
    means = cv2.resize(region, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, _NOISE * highest, (_CELLS, _CELLS, 1))
    if np.ptp(region, axis=2).max():  # what is grey stays grey
        noise = noise + np.random.default_rng(seed + 1).normal(0, _NOISE / 2 * highest, means.shape)
    size = (region.shape[1], region.shape[0])
    mosaic = cv2.resize((means + noise).astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    blurred = cv2.GaussianBlur(mosaic, (0, 0), max(1.0, max(size) / _CELLS / 3))
    return blurred.astype(np.float32, copy=False)
