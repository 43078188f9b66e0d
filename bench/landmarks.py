"""Where eyes, nose and mouth of aligned faces are: what the geometry of a restored face is judged by.

The detector is the one that the runtime aligns photographs with, so that the figure also says what a second look at a
restored photograph would find. One that finds no face, or only one beside it, is a figure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..runtime.faces.align import FFHQ
from ..runtime.faces.detect import Detection, Detector
from ..runtime.restorer import Faces
from .faces_set import to_image


def find_landmarks(detector: Detector, faces: Faces) -> NDArray[np.float64]:
    """Find the five landmarks of aligned faces.

    Args:
        detector: finds them, one face after the other.
        faces: (N, 3, S, S) RGB in [0, 1], aligned to the FFHQ template.

    Returns:
        (N, 5, 2), x y in pixels of the crop; NaN for a face that is not found.
    """
    expected = FFHQ.scaled(faces.shape[-1])
    return np.stack([_landmarks_of(detector(to_image(face)), expected) for face in faces])


def landmark_errors(found: Sequence[Detection], expected: NDArray[np.float64]) -> list[float]:
    """How far each detection's landmarks are from (5, 2) expected ones, on average, in distances between the eyes."""
    eyes = float(np.linalg.norm(expected[0] - expected[1]))
    return [float(np.linalg.norm(one.landmarks - expected, axis=1).mean()) / eyes for one in found]


def _landmarks_of(found: Sequence[Detection], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """The landmarks nearest to where alignment put them; farther away than the eyes are apart it is another face."""
    errors = landmark_errors(found, expected)
    if not errors or min(errors) > 1:
        return np.full((5, 2), np.nan)
    return found[int(np.argmin(errors))].landmarks
