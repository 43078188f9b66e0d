"""A photograph in, the same photograph with its faces restored out: detect, align, restore, paste."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ContractError
from .faces.align import FFHQ, Matrix, align_face, estimate_similarity
from .faces.detect import Detection, Detector, detect_faces
from .faces.paste import paste_faces
from .images import Photo, to_float
from .restorer import Faces, Restorer

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """One face of a photograph and what happened to it.

    Args:
        detection: where it was found.
        matrix: (2, 3), photograph to crop.
        given: the aligned crop that went in, (S, S, 3) float32 in [0, 1].
        restored: what came out.
    """

    detection: Detection
    matrix: Matrix
    given: NDArray[np.float32]
    restored: NDArray[np.float32]

    def to_json(self) -> dict[str, object]:
        """What a log needs: place, confidence, the crop's matrix, and how much was changed."""
        return {
            "box": [round(value, 2) for value in self.detection.box],
            "score": round(self.detection.score, 4),
            "landmarks": self.detection.landmarks.round(2).tolist(),
            "matrix": self.matrix.tolist(),
            "mean_change": round(float(np.abs(self.restored - self.given).mean()), 5),
        }


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """A restored photograph.

    Args:
        photo: the given photograph itself where no face was found.
        faces: the best found first.
    """

    photo: Photo
    faces: tuple[RestoredFace, ...]


def restore_photo(
    photo: Photo, restorer: Restorer, detector: Detector, *, strength: float = 1.0, size: int | None = None
) -> PhotoResult:
    """Restore every face of a photograph.

    Args:
        photo: any depth; alpha and metadata pass through, grey stays grey.
        restorer: keeps the contract of aligned faces.
        detector: finds the faces.
        strength: how much of the restorer's change is applied, [0, 1]; 0 leaves every pixel as it is.
        size: side of the aligned crops; None takes the restorer's native size.

    Raises:
        ContractError: a strength outside [0, 1], or a size that the restorer does not take.
    """
    if not 0 <= strength <= 1:
        raise ContractError("a strength in [0, 1]", f"{strength:g}")
    found = detect_faces(detector, photo.rgb)
    if not found:
        return PhotoResult(photo, ())
    side = restorer.info.native_size if size is None else size
    matrices = [estimate_similarity(one.landmarks, FFHQ, side) for one in found]
    given = [to_float(align_face(photo.rgb, matrix, side)) for matrix in matrices]
    restored = [_dose(*pair, strength, grey=photo.grey) for pair in zip(given, _restore(given, restorer), strict=True)]
    rgb = paste_faces(photo.rgb, given, restored, matrices)
    faces = tuple(RestoredFace(*parts) for parts in zip(found, matrices, given, restored, strict=True))
    return PhotoResult(photo.with_rgb(rgb), faces)


def _restore(given: list[NDArray[np.float32]], restorer: Restorer) -> NDArray[np.float32]:
    """Run all crops as one batch: (N, S, S, 3) in, the same out."""
    batch: Faces = np.ascontiguousarray(np.stack(given).transpose(0, 3, 1, 2))
    return restorer(batch).transpose(0, 2, 3, 1)


def _dose(
    given: NDArray[np.float32], restored: NDArray[np.float32], strength: float, *, grey: bool
) -> NDArray[np.float32]:
    if grey:  # a restorer's faint tint has no place in a photograph without colour
        restored = np.repeat((restored @ _LUMA)[:, :, None], 3, axis=2)
    return (given + np.float32(strength) * (restored - given)).astype(np.float32, copy=False)
