"""Boxes (N, 4): left, top, right, bottom."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .detect import Detection

Boxes: TypeAlias = NDArray[np.float64]

_BLOCK = 128  # compared with all others at once; a crowd's thousands shall not be compared with thousands


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
    order = np.argsort(-scores, kind="stable")
    ordered = boxes[order]
    stays = np.ones(len(order), np.bool_)
    for start in range(0, len(order), _BLOCK):
        rows = start + np.nonzero(stays[start : start + _BLOCK])[0]
        for row, covers in zip(rows, _shared(ordered[rows], ordered, of_smaller=of_smaller) > threshold, strict=True):
            if stays[row]:
                stays[row + 1 :] &= ~covers[row + 1 :]
    return order[stays]


def _shared(ones: Boxes, others: Boxes, *, of_smaller: bool) -> NDArray[np.float64]:
    """Overlap of each of `ones` (K, 4) with each of `others` (N, 4): (K, N), the share of the union or smaller box."""
    # Each axis for itself: over a last axis of two numpy spends its time on the loop.
    sides = []
    for low, high in ((0, 2), (1, 3)):
        side = np.minimum(ones[:, None, high], others[:, high]) - np.maximum(ones[:, None, low], others[:, low])
        sides.append(np.maximum(side, 0.0))
    shared = sides[0] * sides[1]
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (ones, others)]
    whole = np.minimum(areas[0][:, None], areas[1]) if of_smaller else areas[0][:, None] + areas[1] - shared
    return shared / np.maximum(whole, 1e-12)


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
