"""Restorers of one fixed size among faces of another: the face is resized for them, and their result back."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.restorer import Faces, Restorer, RestorerInfo, check_faces


def at_size(restorer: Restorer, size: int) -> Restorer:
    """Make a restorer take faces of a given side.

    Args:
        restorer: any.
        size: of the faces that it will be given.

    Returns:
        the restorer itself where it takes such faces, else one that resizes them.
    """
    return restorer if restorer.info.size in (None, size) else ResizedRestorer(restorer, size)


class ResizedRestorer:
    """Gives a restorer of a fixed size faces of that size, as whoever uses it on smaller faces must.

    Args:
        restorer: takes one size only.
        size: side of the faces that are given and returned.
    """

    def __init__(self, restorer: Restorer, size: int) -> None:
        self._restorer, self._inner = restorer, restorer.info.size or size
        self._info = dataclasses.replace(restorer.info, size=size, multiple=1, native_size=size)

    @property
    def info(self) -> RestorerInfo:
        """That of the restorer, but for the size."""
        return self._info

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        """Restore faces of the outer size, one at a time."""
        check_faces(faces, self._info)
        restored = [self._restorer(_resize(face, self._inner)[None], strength)[0] for face in faces]
        return np.stack([_resize(face, self._info.native_size) for face in restored])


def _resize(face: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    interpolation = cv2.INTER_AREA if face.shape[-1] > side else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(face.transpose(1, 2, 0)), (side, side), interpolation=interpolation)
    return np.clip(resized, 0, 1).astype(np.float32).transpose(2, 0, 1)
