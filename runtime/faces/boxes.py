"""Boxes (N, 4): left, top, right, bottom."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .detect import Detection

Boxes: TypeAlias = NDArray[np.float64]


def suppress(
    boxes: Boxes, scores: NDArray[np.float64], threshold: float, *, of_smaller: bool = False
) -> NDArray[np.intp]:
    """Keep the best of boxes that overlap (greedy non-maximum suppression).

    Args:
        boxes: (N, 4).
        scores: (N,).
        threshold: how much two boxes may overlap, 0 to 1.
        of_smaller: measure the overlap against the smaller box instead of the union.

    Returns:
        Indices of the boxes kept, best first.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        shared = np.prod(np.maximum(sides, 0.0), axis=1)
        whole = np.minimum(areas[best], areas[order]) if of_smaller else areas[best] + areas[order] - shared
        order = order[shared <= threshold * whole]
    return np.array(kept, np.intp)


def squared(boxes: Boxes) -> Boxes:
    """Widen each box to a square about its centre, as large as its longer side."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def as_detections(boxes: Boxes, scores: NDArray[np.float64], landmarks: NDArray[np.float64]) -> list[Detection]:
    """One detection a row.

    Args:
        boxes: (N, 4).
        scores: (N,).
        landmarks: (N, 5, 2).
    """
    rows = zip(boxes.tolist(), scores.tolist(), landmarks.astype(np.float64), strict=True)
    return [Detection((box[0], box[1], box[2], box[3]), score, points) for box, score, points in rows]
