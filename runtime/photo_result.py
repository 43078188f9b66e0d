"""What became of a photograph and of each of its faces."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .faces.align import Matrix
from .faces.detect import Detection
from .faces.paste import Crop
from .images import Photo

# What can become of a face.
RESTORED = "restored"  # as strongly as was asked for
WEAKENED = "weakened"  # less strongly, because of `reason`
KEPT = "kept"  # as it was, because of `reason`
ANONYMISED = "anonymised"

# Why, beside what `faces.choose` names.
IDENTITY, HIDDEN = "identity", "hidden"
_SAID = {
    (RESTORED, ""): "restored",
    (WEAKENED, IDENTITY): "restored more weakly to stay the same person",
    (WEAKENED, HIDDEN): "restored more weakly because much of it is covered",
    (KEPT, IDENTITY): "left alone to stay the same person",
    (KEPT, HIDDEN): "left alone because too much of it is covered",
}


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """One face of a photograph and what happened to it.

    Args:
        detection: where it was found.
        matrix: (2, 3), photograph to crop; the photograph as it was given, before any enlargement.
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
    given: Crop
    restored: Crop
    status: str = RESTORED
    reason: str = ""
    strength: float = 1.0
    cosine: float | None = None
    likeness: float | None = None
    hidden: float | None = None

    @property
    def angle(self) -> float | None:
        """Degrees between the identities before and after; None where they were not measured."""
        return None if self.cosine is None else math.degrees(math.acos(min(1.0, max(-1.0, self.cosine))))

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

    def describe(self) -> str:
        """What became of the faces, as part of a sentence."""
        groups: dict[str, int] = {}
        for face in self.faces:
            said = _SAID.get((face.status, face.reason), f"left alone ({face.reason})")
            said = ANONYMISED if face.status == ANONYMISED else said
            groups[said] = groups.get(said, 0) + 1
        told = ", ".join(f"{count} face{'s' if count > 1 else ''} {said}" for said, count in groups.items())
        return told or "no face found"
