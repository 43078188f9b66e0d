"""Faces that lie or stand on their head: the detector looks at quarter turns of the picture.

Detectors know upright faces; MTCNN bears 60 degrees to either side, so that quarter turns leave no gap. Landmarks keep
the face's own order: its eye on the left when it is held upright comes first. Alignment then turns the crop upright.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..decode import Pixels
from .boxes import suppress
from .detect import Detection, Detector, at_detection_size, scaled

_OVERLAP = 0.4


def detect_any_way_up(detector: Detector, pixels: Pixels, turns: str = "auto") -> list[Detection]:
    """Find the faces of a photograph of any size.

    Args:
        detector: finds upright ones.
        pixels: (H, W, 3) RGB, uint8 or uint16.
        turns: `never` looks at the picture as it is, `auto` at its quarter turns too where it shows no upright face,
            `always` in any case, which takes four times as long.

    Returns:
        Detections in pixels of the photograph, best first.
    """
    smaller, scale = at_detection_size(pixels)
    found = detector(smaller)
    if turns == "always" or (turns == "auto" and not found):
        height, width = smaller.shape[:2]
        for quarter in (1, 2, 3):
            turned = detector(np.ascontiguousarray(np.rot90(smaller, quarter)))
            found += [turn_back(one, quarter, width, height) for one in turned]
        found = _best(found)
    return [scaled(one, scale) for one in found]


def turn_back(one: Detection, quarter: int, width: int, height: int) -> Detection:
    """Carry a detection from a picture that `numpy.rot90` turned by quarters (1, 2, 3) back to one of width, height."""
    corners = _turned_back(np.array(one.box).reshape(2, 2), quarter, width, height)
    left, top = corners.min(0).tolist()
    right, bottom = corners.max(0).tolist()
    return Detection((left, top, right, bottom), one.score, _turned_back(one.landmarks, quarter, width, height))


def _turned_back(points: NDArray[np.float64], quarter: int, width: int, height: int) -> NDArray[np.float64]:
    x, y = points[:, 0], points[:, 1]
    back = {1: (width - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, height - 1 - x)}[quarter]
    return np.stack(back, axis=1)


def _best(found: list[Detection]) -> list[Detection]:
    """One detection a face, of all that the turns gave; the same face seen twice is kept where it scored higher."""
    if not found:
        return []
    boxes, scores = np.array([one.box for one in found]), np.array([one.score for one in found])
    return [found[index] for index in suppress(boxes, scores, _OVERLAP)]
