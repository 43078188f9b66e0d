"""MTCNN: three small networks in a row, each with fewer and larger looks, as TFLite files that are shipped.

P-Net looks everywhere at every scale and proposes boxes, R-Net throws most of them out, O-Net decides and finds the
landmarks. Inside, boxes are counted from pixel edges; what is given out follows the convention of `detect`.

Source: Zhang et al. 2016; weights and thresholds of the PyPI package mtcnn (MIT), converted by
`pocketface.export.mtcnn`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends.litert import find_interpreter
from .boxes import Boxes, as_detections, squared, suppress
from .detect import Detection

SMALLEST_FACE = 24
_CELL, _STRIDE = 12, 2  # what one place of P-Net's map sees, and the step to the next
_PYRAMID = 0.709  # halves the area
_PROPOSED, _REFINED, _ACCEPTED = 0.6, 0.7, 0.8
_LEVEL_OVERLAP, _OVERLAP = 0.5, 0.7
_BATCH = 64
_GREY = (127, 127, 127)


class MtcnnDetector:
    """MTCNN on LiteRT; it holds its networks' tensors, so each thread needs its own.

    Args:
        threads: CPU threads; None leaves the interpreter's choice.
        smallest_face: side in pixels of the smallest face looked for; half of it costs four times as much.

    Raises:
        BackendError: no TFLite interpreter is installed.
    """

    name = "mtcnn"

    def __init__(self, threads: int | None = None, smallest_face: int = SMALLEST_FACE) -> None:
        self._threads, self._smallest_face = threads, smallest_face
        self._refiner = _Network("rnet", threads)
        self._judge = _Network("onet", threads)
        # One a level of the pyramid: the pictures of a video then find tensors of their size already made.
        self._proposers: list[_Network] = []

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in (H, W, 3) RGB, best first."""
        boxes = squared(self._propose(image))
        octaves = _octaves(image)
        boxes = squared(self._refine(octaves, boxes))
        return self._decide(octaves, boxes)

    def _propose(self, image: NDArray[np.uint8]) -> Boxes:
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        scale, level = _CELL / self._smallest_face, 0
        while min(image.shape[:2]) * scale >= _CELL:
            found, likely = self._propose_at(image, scale, level)
            kept = suppress(found, likely, _LEVEL_OVERLAP)
            boxes.append(found[kept])
            scores.append(likely[kept])
            scale, level = scale * _PYRAMID, level + 1
        together, likely = np.concatenate(boxes), np.concatenate(scores)
        return together[suppress(together, likely, _OVERLAP)]

    def _propose_at(self, image: NDArray[np.uint8], scale: float, level: int) -> tuple[Boxes, NDArray[np.float64]]:
        height, width = image.shape[:2]
        size = (math.ceil(width * scale), math.ceil(height * scale))
        if level == len(self._proposers):
            self._proposers.append(_Network("pnet", self._threads))
        smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        shifts, faces = self._proposers[level](smaller[None])
        rows, columns = np.nonzero(faces[0, :, :, 1] > _PROPOSED)
        corners = np.stack([columns, rows], 1) * float(_STRIDE)
        cells = np.concatenate([corners, corners + _CELL], 1)
        found = cells + shifts[0, rows, columns] * _CELL
        ratio = np.array([width / size[0], height / size[1]] * 2)
        return found * ratio, faces[0, rows, columns, 1].astype(np.float64)

    def _refine(self, octaves: list[NDArray[np.uint8]], boxes: Boxes) -> Boxes:
        shifts, faces = self._refiner.on_patches(octaves, boxes, 24)
        likely = faces[:, 1] > _REFINED
        boxes, scores = _shifted(boxes, shifts)[likely], faces[likely, 1].astype(np.float64)
        return boxes[suppress(boxes, scores, _OVERLAP)]

    def _decide(self, octaves: list[NDArray[np.uint8]], boxes: Boxes) -> list[Detection]:
        shifts, places, faces = self._judge.on_patches(octaves, boxes, 48)
        sides = boxes[:, None, 2:] - boxes[:, None, :2]
        landmarks = boxes[:, None, :2] + places.reshape(-1, 2, 5).transpose(0, 2, 1) * sides
        found, scores = _shifted(boxes, shifts), faces[:, 1].astype(np.float64)
        likely = np.nonzero(scores > _ACCEPTED)[0]
        kept = likely[suppress(found[likely], scores[likely], _OVERLAP, of_smaller=True)]
        return as_detections(found[kept] - 0.5, scores[kept], landmarks[kept] - 0.5)


def _shifted(boxes: Boxes, shifts: NDArray[np.float32]) -> Boxes:
    """Move each edge by a share of the box's width or height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + shifts * np.concatenate([sides, sides], axis=1)


def _octaves(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The picture, its half, its quarter, ..., so that no patch is taken with gaps between its samples."""
    octaves = [image]
    while min(octaves[-1].shape[:2]) >= 2 * _CELL:
        height, width = octaves[-1].shape[:2]
        halved = cv2.resize(octaves[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        octaves.append(halved.astype(np.uint8, copy=False))
    return octaves


def _patch(octaves: list[NDArray[np.uint8]], box: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """A square box resampled to side x side; grey beyond the picture's edge."""
    scale = (box[2] - box[0]) / side
    octave = min(max(0, int(math.log2(max(scale, 1)))), len(octaves) - 1)
    height, width = octaves[octave].shape[:2]
    x_ratio, y_ratio = width / octaves[0].shape[1], height / octaves[0].shape[0]
    # From the patch's pixel centres through edge coordinates to the octave's pixel centres.
    matrix = np.array(
        [
            [scale * x_ratio, 0, (box[0] + scale / 2) * x_ratio - 0.5],
            [0, scale * y_ratio, (box[1] + scale / 2) * y_ratio - 0.5],
        ]
    )
    return cv2.warpAffine(
        octaves[octave], matrix, (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT, borderValue=_GREY,
    ).astype(np.uint8, copy=False)  # fmt: skip


class _Network:
    """One of the three files, at whatever size it is fed."""

    def __init__(self, stage: str, threads: int | None) -> None:
        path = Path(__file__).parents[1] / "weights" / f"mtcnn_{stage}.tflite"
        _, interpreter_class = find_interpreter()
        self._interpreter: Any = interpreter_class(model_path=str(path), num_threads=threads)
        self._input = int(self._interpreter.get_input_details()[0]["index"])
        outputs = self._interpreter.get_output_details()
        self._outputs = [int(detail["index"]) for detail in outputs]
        self._widths = [int(detail["shape"][-1]) for detail in outputs]
        self._shape: tuple[int, ...] = ()

    def __call__(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """(N, rows, columns, 3) RGB -> the heads' outputs."""
        if images.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, images.shape)
            self._interpreter.allocate_tensors()
            self._shape = images.shape
        self._interpreter.set_tensor(self._input, (images.astype(np.float32) - np.float32(127.5)) / np.float32(128))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def on_patches(self, octaves: list[NDArray[np.uint8]], boxes: Boxes, side: int) -> list[NDArray[np.float32]]:
        """The heads' outputs for square boxes (N, 4), a batch at a time."""
        parts = [[np.zeros((0, width), np.float32) for width in self._widths]]
        for start in range(0, len(boxes), _BATCH):
            patches = [_patch(octaves, box, side) for box in boxes[start : start + _BATCH]]
            parts.append(self(np.stack(patches)))
        return [np.concatenate(head) for head in zip(*parts, strict=True)]
