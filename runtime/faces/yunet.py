"""YuNet in OpenCV, for those who have its `.onnx` file: the fastest of the three."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError
from ..opencv import silent
from .boxes import as_detections
from .detect import Detection

_ACCEPTED, _OVERLAP, _CANDIDATES = 0.7, 0.3, 5000


class YunetDetector:
    """YuNet; it holds one picture's size, so each thread needs its own.

    Args:
        path: the network as ONNX.

    Raises:
        BackendError: OpenCV does not take the file.
    """

    name = "yunet"

    def __init__(self, path: Path) -> None:
        try:
            with silent():
                self._detector = cv2.FaceDetectorYN.create(str(path), "", (32, 32), _ACCEPTED, _OVERLAP, _CANDIDATES)
        except cv2.error as error:
            raise BackendError("a YuNet file that OpenCV reads", f"{path}: {error.err}") from error
        self._path = path

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in (H, W, 3) RGB, best first."""
        self._detector.setInputSize((image.shape[1], image.shape[0]))
        try:
            with silent():
                _, rows = self._detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as error:  # an ONNX file of another network is found out only here
            raise BackendError("a YuNet file", f"{self._path}: {error.err}") from error
        if rows is None:
            return []
        found = np.asarray(rows, np.float64)
        found = found[np.argsort(-found[:, 14], kind="stable")]
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
        # OpenCV names sides by the person: the right eye, which comes first, is on the picture's left.
        return as_detections(boxes, found[:, 14], found[:, 4:14].reshape(-1, 5, 2))
