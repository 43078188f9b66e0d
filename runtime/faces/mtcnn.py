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

SMALLEST_FACE = 32
_CELL, _STRIDE = 12, 2  # what one place of P-Net's map sees, and the step to the next
_PYRAMID = 0.709  # halves the area
_PROPOSED, _REFINED, _LIKELY = 0.6, 0.6, 0.5
_LEVEL_OVERLAP, _OVERLAP = 0.5, 0.7
# O-Net looks again at what may be a face: closer by this factor, from these places in box sides, and mirrored. Faces
# stand that test, collars and patterns do not, and the mean of the eight looks is nearer to the true landmarks than the
# first guess (both measured: docs/photos.md).
_CLOSER = 0.85
_LOOKS = ((-0.04, -0.04), (0.04, -0.04), (-0.04, 0.04), (0.04, 0.04))
_MIRROR_ORDER = [1, 0, 2, 4, 3]
_ACCEPTED = 0.9  # mean probability over the looks
_SPREAD = 0.035  # of landmarks between the looks, in box sides
# Where the alignment templates have the landmarks, less where MTCNN's training data has them, in the face's own axes
# (x + yj): the median over every fourth photograph of the training set.
_CONVENTION = (0.0028 + 0.0013j, -0.0028 + 0.0013j, -0.0083j, 0.0172 - 0.0203j, -0.0172 - 0.0203j)
_BATCH = 64
_GREY = (127, 127, 127)


class MtcnnDetector:
    """MTCNN on LiteRT; it holds its networks' tensors, so each thread needs its own.

    Args:
        threads: CPU threads; None leaves the interpreter's choice.
        smallest_face: side in pixels of the smallest face that is surely looked for; half of it costs four times as
            much.

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
        octaves = _octaves(image)
        boxes = squared(self._propose(octaves))
        boxes = squared(self._refine(octaves, boxes))
        return self._decide(octaves, boxes)

    def _propose(self, octaves: list[NDArray[np.uint8]]) -> Boxes:
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        scale, level = _CELL / self._smallest_face, 0
        while min(octaves[0].shape[:2]) * scale >= _CELL:
            found, likely = self._propose_at(octaves, scale, level)
            kept = suppress(found, likely, _LEVEL_OVERLAP)
            boxes.append(found[kept])
            scores.append(likely[kept])
            scale, level = scale * _PYRAMID, level + 1
        together, likely = np.concatenate(boxes), np.concatenate(scores)
        return together[suppress(together, likely, _OVERLAP)]

    def _propose_at(
        self, octaves: list[NDArray[np.uint8]], scale: float, level: int
    ) -> tuple[Boxes, NDArray[np.float64]]:
        height, width = octaves[0].shape[:2]
        size = (math.ceil(width * scale), math.ceil(height * scale))
        if level == len(self._proposers):
            self._proposers.append(_Network("pnet", self._threads))
        # From the octave next above, by less than 2: bilinear then leaves no pixel out, and costs a fifth of averaging.
        nearest = max(0, min(len(octaves) - 1, math.floor(-math.log2(scale))))
        smaller = cv2.resize(octaves[nearest], size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        shifts, faces = self._proposers[level](smaller[None])
        rows, columns = np.nonzero(faces[0, :, :, 1] > _PROPOSED)
        corners = np.stack([columns, rows], 1) * float(_STRIDE)
        cells = np.concatenate([corners, corners + _CELL], 1)
        found = cells + shifts[0, rows, columns] * _CELL
        ratio = np.array([width / size[0], height / size[1]] * 2)
        return (found * ratio).astype(np.float64, copy=False), faces[0, rows, columns, 1].astype(np.float64)

    def _refine(self, octaves: list[NDArray[np.uint8]], boxes: Boxes) -> Boxes:
        shifts, faces = self._refiner.on_patches(octaves, _frames(boxes), 24)
        likely = faces[:, 1] > _REFINED
        boxes, scores = _shifted(boxes, shifts)[likely], faces[likely, 1].astype(np.float64)
        return boxes[suppress(boxes, scores, _OVERLAP)]

    def _decide(self, octaves: list[NDArray[np.uint8]], boxes: Boxes) -> list[Detection]:
        frames = _frames(boxes)
        shifts, places, faces = self._judge.on_patches(octaves, frames, 48)
        found, scores = _shifted(boxes, shifts), faces[:, 1].astype(np.float64)
        likely = np.nonzero(scores > _LIKELY)[0]
        kept = likely[suppress(found[likely], scores[likely], _OVERLAP, of_smaller=True)]
        if not len(kept):
            return []
        found = found[kept]
        looks, faces = self._look_again(octaves, squared(found), _in_picture(frames[kept], places[kept]))
        spread = np.linalg.norm(looks.std(axis=1), axis=2).mean(axis=1) / (found[:, 2:] - found[:, :2]).max(axis=1)
        sure = np.nonzero((faces > _ACCEPTED) & (spread < _SPREAD))[0]
        sure = sure[np.argsort(-faces[sure], kind="stable")]
        landmarks = _to_convention(looks[sure].mean(axis=1))
        return as_detections(found[sure] - 0.5, faces[sure], landmarks - 0.5)

    def _look_again(
        self, octaves: list[NDArray[np.uint8]], boxes: Boxes, landmarks: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Look at faces closer, upright, from several places and mirrored.

        Args:
            octaves: of the picture.
            boxes: (N, 4), square.
            landmarks: (N, 5, 2), the first guess.

        Returns:
            Landmarks of each look (N, looks, 5, 2) and the mean probability of a face (N,).
        """
        plain = _closer_frames(boxes, landmarks)
        mirrored = plain * (-1, 1, 1)
        mirrored[..., 2] += plain[..., 0]  # from the right edge leftwards
        frames = np.concatenate([plain, mirrored], axis=1)
        _, places, faces = self._judge.on_patches(octaves, frames.reshape(-1, 2, 3), 48)
        found = _in_picture(frames.reshape(-1, 2, 3), places).reshape(*frames.shape[:2], 5, 2)
        found[:, len(_LOOKS) :] = found[:, len(_LOOKS) :, _MIRROR_ORDER]
        return found, faces[:, 1].reshape(frames.shape[:2]).mean(axis=1).astype(np.float64)


def _frames(boxes: Boxes) -> NDArray[np.float64]:
    """Matrices (N, 2, 3) that carry the unit square to a box of the picture."""
    frames = np.zeros((len(boxes), 2, 3))
    frames[:, 0, 0], frames[:, 1, 1] = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    frames[:, :, 2] = boxes[:, :2]
    return frames


def _closer_frames(boxes: Boxes, landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frames (N, looks, 2, 3) of squares about the boxes' centres, turned so that the eyes are level."""
    eyes = landmarks[:, 1] - landmarks[:, 0]
    right = eyes / np.linalg.norm(eyes, axis=1, keepdims=True) * (boxes[:, 2:3] - boxes[:, :1]) * _CLOSER
    axes = np.stack([right, right[:, ::-1] * (-1, 1)], axis=2)  # columns: to the right, downwards
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    origins = centres[:, None] + np.einsum("nij,kj->nki", axes, np.array(_LOOKS) - 0.5)
    return np.concatenate([np.repeat(axes[:, None], len(_LOOKS), axis=1), origins[..., None]], axis=3)


def _in_picture(frames: NDArray[np.float64], places: NDArray[np.float32]) -> NDArray[np.float64]:
    """Carry five x then five y in the unit square, (N, 10), to points (N, 5, 2) of the picture."""
    points = places.reshape(-1, 2, 5).astype(np.float64)
    return (frames[:, :, :2] @ points + frames[:, :, 2:]).transpose(0, 2, 1)


def _to_convention(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move landmarks (N, 5, 2) from where MTCNN's training data has them to where the templates have them."""
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    left, right = points[:, [0, 3]].mean(axis=1), points[:, [1, 4]].mean(axis=1)
    above, below = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    # The face's own axes: one unit is the mean of its width between the eyes and its height from eyes to mouth.
    unit = ((right - left) + (below - above) / 1j) / 2
    moved = points + unit[:, None] * np.array(_CONVENTION)
    return np.stack([moved.real, moved.imag], axis=-1)


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


def _patches(octaves: list[NDArray[np.uint8]], frames: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """What frames (N, 2, 3) show, resampled to (N, side, side, 3); grey beyond the picture's edge."""
    scales = np.hypot(frames[:, 0, 0], frames[:, 1, 0]) / side
    nearest = np.minimum(np.log2(np.maximum(scales, 1)).astype(int), len(octaves) - 1)
    patches = np.empty((len(frames), side, side, 3), np.uint8)
    for octave in np.unique(nearest):  # all patches of one octave in one call
        chosen = np.nonzero(nearest == octave)[0]
        x, y = _places(frames[chosen], octaves[0].shape, octaves[octave].shape, side)
        shown = cv2.remap(octaves[octave], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_GREY)
        patches[chosen] = shown.reshape(-1, side, side, 3)
    return patches


def _places(
    frames: NDArray[np.float64], whole: tuple[int, ...], octave: tuple[int, ...], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the pixels of patches lie in an octave: x and y, (N * side, side) each, patch below patch."""
    smaller = np.array([[octave[1] / whole[1]], [octave[0] / whole[0]]])
    # From the patch's pixel centres through edge coordinates to the octave's pixel centres.
    matrices = frames * smaller / (side, side, 1)
    steps = np.arange(side) + 0.5
    places = matrices[:, :, 1, None, None] * steps[:, None] + matrices[:, :, 0, None, None] * steps
    places += matrices[:, :, 2, None, None] - 0.5
    x, y = places.astype(np.float32).transpose(1, 0, 2, 3).reshape(2, -1, side)
    return x, y


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
        levels = np.multiply(images, np.float32(1 / 128), dtype=np.float32)
        levels -= np.float32(127.5 / 128)
        self._interpreter.set_tensor(self._input, levels)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def on_patches(
        self, octaves: list[NDArray[np.uint8]], frames: NDArray[np.float64], side: int
    ) -> list[NDArray[np.float32]]:
        """The heads' outputs for what frames (N, 2, 3) show, a batch at a time."""
        parts = [[np.zeros((0, width), np.float32) for width in self._widths]]
        starts = range(0, len(frames), _BATCH)
        parts += [self(_patches(octaves, frames[start : start + _BATCH], side)) for start in starts]
        return [np.concatenate(head) for head in zip(*parts, strict=True)]
