"""Where the faces are: one contract for every detector.

Convention: boxes and landmarks are in pixels of the photograph that was given, x before y, origin at the centre of the
top-left pixel; landmarks run left eye, right eye, nose tip, left mouth corner, right mouth corner, where left is the
picture's left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

DEFAULT = "mtcnn"


@dataclass(frozen=True)
class Detection:
    """One face.

    Args:
        box: left, top, right, bottom.
        score: the detector's confidence, [0, 1].
        landmarks: (5, 2) float64, x y.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float64]


class Detector(Protocol):
    """Anything that finds faces."""

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of a photograph (H, W, 3) uint8 RGB, the most confident first; none is an empty list."""
        ...


def open_detector(name: str | Path = DEFAULT, *, threads: int = 1) -> Detector:
    """Open a detector.

    Args:
        name: `mtcnn` (shipped), the path of a YuNet `.onnx` file, or the path of a RetinaFace mobilenet-0.25 `.pth` file.
        threads: CPU threads.

    Raises:
        InputError: neither.
        BackendError: the engine that it needs is missing.
        CheckpointError: a file with other weights.
    """
    suffix = Path(name).suffix.lower()
    if str(name) == DEFAULT:
        from .mtcnn import open_mtcnn

        return open_mtcnn(threads=threads)
    if suffix == ".onnx":
        from .yunet import open_yunet

        return open_yunet(Path(name))
    if suffix == ".pth":
        from .retinaface import open_retinaface

        return open_retinaface(Path(name), threads=threads)
    raise InputError(f"'{DEFAULT}', a YuNet .onnx file or a RetinaFace .pth file", f"'{name}'")
