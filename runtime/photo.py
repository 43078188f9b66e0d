"""A photograph in, the same photograph with its faces restored out: detect, align, restore, paste."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .companions import Companions
from .faces.align import FFHQ, Matrix, align_face, estimate_similarity
from .faces.detect import Detection, Detector, detect_faces
from .faces.paste import paste_faces
from .images import Photo, to_float
from .options import DEFAULT, PhotoOptions
from .restorer import Restorer

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# What can become of a face.
RESTORED = "restored"  # as strongly as was asked for
WEAKENED = "weakened"  # less strongly, because of `reason`
KEPT = "kept"  # as it was, because of `reason`
ANONYMISED = "anonymised"


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """One face of a photograph and what happened to it.

    Args:
        detection: where it was found.
        matrix: (2, 3), photograph to crop.
        given: the aligned crop that went in, (S, S, 3) float32 in [0, 1].
        restored: what was pasted, at the strength used; `given` itself where the face was left alone.
        status: `restored`, `weakened`, `kept` or `anonymised`.
        reason: why it is not `restored`: `identity`, `hidden`, `not chosen`, `small`, `score`; else empty.
        strength: of the restorer's change that was used, [0, 1].
        cosine: of identity between `given` and `restored`; None where it was not measured.
        likeness: cosine between `given` and the reference person; None without a reference.
        hidden: estimated share of the face that is covered, [0, 1]; None where it was not estimated.
    """

    detection: Detection
    matrix: Matrix
    given: NDArray[np.float32]
    restored: NDArray[np.float32]
    status: str = RESTORED
    reason: str = ""
    strength: float = 1.0
    cosine: float | None = None
    likeness: float | None = None
    hidden: float | None = None

    @property
    def angle(self) -> float | None:
        """Degrees between the identities before and after; None where they were not measured."""
        return None if self.cosine is None else float(np.degrees(np.arccos(np.clip(self.cosine, -1, 1))))

    def to_json(self) -> dict[str, object]:
        """What a log needs: place, confidence, the crop's matrix, what was done and why, and how much was changed."""
        return {
            "box": [round(value, 2) for value in self.detection.box],
            "score": round(self.detection.score, 4),
            "landmarks": self.detection.landmarks.round(2).tolist(),
            "matrix": self.matrix.tolist(),
            "status": self.status,
            "reason": self.reason,
            "strength": round(self.strength, 4),
            "cosine": _rounded(self.cosine, 4),
            "angle": _rounded(self.angle, 2),
            "likeness": _rounded(self.likeness, 4),
            "hidden": _rounded(self.hidden, 3),
            "mean_change": round(float(np.abs(self.restored - self.given).mean()), 5),
        }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """A restored photograph.

    Args:
        photo: the given photograph itself where nothing was done to it.
        faces: all that were found, the best found first, also those that were left alone.
        seconds: stage -> time that it took, in the order of the stages; faces go through each stage together.
    """

    photo: Photo
    faces: tuple[RestoredFace, ...]
    seconds: dict[str, float] = field(default_factory=dict)


class _Clock:
    """Adds up how long each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def restore_photo(
    photo: Photo,
    restorer: Restorer,
    detector: Detector,
    options: PhotoOptions = DEFAULT,
    companions: Companions | None = None,
) -> PhotoResult:
    """Restore the faces of a photograph.

    Args:
        photo: any depth; alpha and metadata pass through, grey stays grey.
        restorer: keeps the contract of aligned faces.
        detector: finds the faces.
        options: what to do with which face and with the rest of the photograph.
        companions: the further networks that the options ask for; None opens them, for every photograph anew.

    Raises:
        ContractError: a size that the restorer does not take.
    """
    del companions
    clock = _Clock()
    with clock.stage("detect"):
        found = detect_faces(detector, photo.rgb)
    if not found:
        return PhotoResult(photo, (), clock.seconds)
    side = restorer.info.native_size if options.size is None else options.size
    with clock.stage("align"):
        matrices = [estimate_similarity(one.landmarks, FFHQ, side) for one in found]
        given = [to_float(align_face(photo.rgb, matrix, side)) for matrix in matrices]
    with clock.stage("restore"):
        restored = _restore(given, restorer, options.strength, grey=photo.grey)
    with clock.stage("paste"):
        rgb = paste_faces(photo.rgb, given, restored, matrices)
    faces = tuple(
        RestoredFace(*parts, strength=options.strength) for parts in zip(found, matrices, given, restored, strict=True)
    )
    return PhotoResult(photo.with_rgb(rgb), faces, clock.seconds)


def _restore(
    given: list[NDArray[np.float32]], restorer: Restorer, strength: float, *, grey: bool
) -> list[NDArray[np.float32]]:
    """Run all crops as one batch: each (S, S, 3) in, the same out."""
    faces = restorer(np.ascontiguousarray(np.stack(given).transpose(0, 3, 1, 2))).transpose(0, 2, 3, 1)
    return [_dose(*pair, strength, grey=grey) for pair in zip(given, faces, strict=True)]


def _dose(
    given: NDArray[np.float32], restored: NDArray[np.float32], strength: float, *, grey: bool
) -> NDArray[np.float32]:
    if grey:  # a restorer's faint tint has no place in a photograph without colour
        restored = np.repeat((restored @ _LUMA)[:, :, None], 3, axis=2)
    return (given + np.float32(strength) * (restored - given)).astype(np.float32, copy=False)
