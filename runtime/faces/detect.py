"""Where the faces are: one contract for every detector, and one door to all of them.

Convention: boxes and landmarks are in pixels of the photograph that was given, x before y, origin at the centre of the
top-left pixel; landmarks run left eye, right eye, nose tip, left mouth corner, right mouth corner, where left is the
picture's left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..decode import Pixels
from ..errors import InputError
from ..images import to_uint8

# MTCNN then finds faces of 3 % of the longer side: 120 pixels of 4,000.
DETECTION_SIDE = 1024
DEFAULT = "mtcnn"


@dataclass(frozen=True, eq=False)
class Detection:
    """One face.

    Args:
        box: left, top, right, bottom; may reach beyond the photograph.
        score: the detector's confidence, [0, 1]; comparable only within one detector.
        landmarks: (5, 2) float64, x y.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float64]


class Detector(Protocol):
    """Anything that finds faces; `detect_faces` spares it large photographs."""

    @property
    def name(self) -> str:
        """For people and records."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of a photograph (H, W, 3) uint8 RGB, the most confident first; none is an empty list."""
        ...


def open_detector(name: str | Path = DEFAULT, *, threads: int | None = None) -> Detector:
    """Open a detector.

    Args:
        name: `mtcnn`, which is shipped; an `.onnx` file of YuNet; or a `.pth` file of RetinaFace with MobileNet 0.25.
        threads: CPU threads; None leaves the engine's choice. PyTorch (`.pth`) and OpenCV (`.onnx`) have one setting
            for the whole process; OpenCV's is left as it is: `cv2.setNumThreads`.

    Raises:
        InputError: no such file, or none of these.
        BackendError: the engine is not installed or refuses the file.
        CheckpointError: a `.pth` file of another network.
    """
    path = Path(name)
    if str(name) == DEFAULT:
        from .mtcnn import MtcnnDetector

        return MtcnnDetector(threads=threads)
    if path.suffix not in (".onnx", ".pth"):
        raise InputError(f"'{DEFAULT}', a YuNet .onnx file or a RetinaFace .pth file", f"'{name}'")
    if not path.is_file():
        raise InputError("a detector's file", f"nothing at {path}")
    if path.suffix == ".onnx":
        from .yunet import YunetDetector

        return YunetDetector(path)
    from .retinaface import RetinaFaceDetector

    return RetinaFaceDetector(path, threads=threads)


def detect_faces(detector: Detector, pixels: Pixels, side: int = DETECTION_SIDE) -> list[Detection]:
    """Find the faces of a photograph of any size, on a smaller copy where it is large.

    Args:
        detector: finds them.
        pixels: (H, W, 3) RGB, uint8 or uint16.
        side: longest side of the copy in pixels.

    Returns:
        Detections in pixels of the photograph, best first.
    """
    smaller, scale = at_detection_size(pixels, side)
    return [scaled(one, scale) for one in detector(smaller)]


def at_detection_size(pixels: Pixels, side: int = DETECTION_SIDE) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Shrink a photograph (H, W, 3) so that its longer side is at most `side`.

    Returns:
        The copy in 8 bits, and how much larger the photograph is, (x, y).
    """
    smaller, halvings = pixels, 0
    while max(smaller.shape[:2]) >= 2 * side:  # by whole factors first: four times as fast
        height, width = smaller.shape[0] // 2, smaller.shape[1] // 2
        smaller = _resized(smaller[: 2 * height, : 2 * width], (width, height), cv2.INTER_AREA)
        halvings += 1
    height, width = smaller.shape[:2]
    shrink = max(1.0, max(height, width) / side)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    if size != (width, height):  # by less than 2: bilinear reads every pixel, as averaging does, eight times as fast
        smaller = _resized(smaller, size, cv2.INTER_LINEAR)
    return to_uint8(smaller), np.array([width / size[0], height / size[1]]) * 2**halvings


def _resized(pixels: Pixels, size: tuple[int, int], interpolation: int) -> Pixels:
    return cv2.resize(pixels, size, interpolation=interpolation).astype(pixels.dtype, copy=False)


def scaled(one: Detection, scale: NDArray[np.float64]) -> Detection:
    """Carry a detection from a picture to one that is `scale` (x, y) times as large."""
    corners = np.array(one.box).reshape(2, 2)
    left, top, right, bottom = ((corners + 0.5) * scale - 0.5).reshape(4).tolist()
    return Detection((left, top, right, bottom), one.score, (one.landmarks + 0.5) * scale - 0.5)
