"""RetinaFace on PyTorch, for those who have its weights: slower to start than MTCNN and surer of turned faces."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError
from .boxes import as_detections, suppress
from .detect import Detection

try:
    import torch

    from ..models.retinaface import PYRAMID, load_retinaface
except ImportError as error:
    if error.name != "torch":
        raise
    raise BackendError("PyTorch, which runs RetinaFace", "none", "run: pip install 'pocketface[torch]'") from error

_MEAN = np.array([104, 117, 123], np.float32)  # blue, green, red
_ACCEPTED, _OVERLAP = 0.6, 0.4
_CENTRE_SCALE, _SIZE_SCALE = 0.1, 0.2
_LARGEST = 5.0  # a wild logarithm of a size shall not overflow: e**5 is 148 times the prior


class RetinaFaceDetector:
    """RetinaFace with MobileNet 0.25, on the CPU.

    Args:
        path: the public weights.
        threads: CPU threads of the whole process; None leaves PyTorch's choice.

    Raises:
        CheckpointError: weights of another network.
    """

    name = "retinaface"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._network = load_retinaface(path)

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in (H, W, 3) RGB, best first."""
        levels = image[:, :, ::-1].astype(np.float32) - _MEAN
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)[None]))
            boxes, faces, landmarks = self._network(given)
            likely = faces.softmax(-1)[0, :, 1].double().numpy()
        found = np.nonzero(likely > _ACCEPTED)[0]
        scores = likely[found]
        priors = _priors(image.shape[0], image.shape[1])[found]
        # The weights were trained with mirrored coordinates W - x: they count from the pixels' edges.
        corners = _corners(boxes[0].double().numpy()[found], priors) - 0.5
        points = landmarks[0].double().numpy()[found].reshape(-1, 5, 2)
        points = priors[:, None, :2] + points * _CENTRE_SCALE * priors[:, None, 2:] - 0.5
        kept = suppress(corners, scores, _OVERLAP)
        return as_detections(corners[kept], scores[kept], points[kept])


def _priors(height: int, width: int) -> NDArray[np.float64]:
    """The squares that the network's answers refer to, (P, 3): centre x, centre y, side."""
    rows = [
        ((column + 0.5) * step, (row + 0.5) * step, side)
        for step, sides in PYRAMID
        for row, column, side in product(range(-(-height // step)), range(-(-width // step)), sides)
    ]
    return np.array(rows, np.float64)


def _corners(boxes: NDArray[np.float64], priors: NDArray[np.float64]) -> NDArray[np.float64]:
    centres = priors[:, :2] + boxes[:, :2] * _CENTRE_SCALE * priors[:, 2:]
    half = priors[:, 2:] * np.exp(np.minimum(boxes[:, 2:] * _SIZE_SCALE, _LARGEST)) / 2
    return np.concatenate([centres - half, centres + half], axis=1)
