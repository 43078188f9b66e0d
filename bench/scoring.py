"""Scoring restorers: how close to the clean face, and to the person, each method comes, level by level.

Rows of the table
- `input`: the degraded face as the grid makes it, already enlarged to full size by bicubic interpolation. This is what
  every restorer is given, and what somebody without a restorer has.
- `bicubic`: the clean face, only shrunk and enlarged by the same factor (bicubic, antialiased). Nobody has this
  picture: it says how much of the loss is resolution alone, and so what removing blur, noise and JPEG perfectly would
  give. At x4 and x8 the grid does nothing else, and the two rows agree.
- one row a restorer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..runtime import metrics
from ..runtime.faces.degrade import LEVELS, degrade_face, lose_resolution
from ..runtime.faces.detect import Detector
from ..runtime.images import to_faces
from ..runtime.parity import Embed
from ..runtime.restorer import Faces, Restorer
from .faces_set import Pixels
from .landmarks import find_landmarks
from .verification import Verification, pair_people, verify

Floats: TypeAlias = NDArray[np.float64]
INPUT, BICUBIC, CLEAN = "input", "bicubic", "clean"
_BATCH = 8


@dataclass(frozen=True)
class Figure:
    """A mean over faces.

    Args:
        mean: of the metric.
        error: standard error of the mean, over faces; None for a single face.
    """

    mean: float
    error: float | None


@dataclass(frozen=True)
class Score:
    """One cell row of the table: one method at one level.

    Args:
        method: `input`, `bicubic`, or a restorer's label.
        level: of the grid.
        faces: how many.
        psnr_db, ssim: against the clean face.
        gain_db: PSNR over the input's, face by face; its error is that of the paired difference.
        sharpness: of the detail, 1 being the clean face's; None where no clean face has any.
        cosine: between the judge's embeddings of result and clean face; None without a judge.
        landmark_error: distance from the clean face's landmarks as a share of the distance between its eyes, over the
            faces that were found; None where none was.
        not_found: share of the faces found in the clean crops that are not found in these, [0, 1]; None where none
            was found in the clean ones. A method that loses the hard faces has an easier mean above.
    """

    method: str
    level: str
    faces: int
    psnr_db: Figure
    ssim: Figure
    gain_db: Figure
    sharpness: Figure | None
    cosine: Figure | None
    landmark_error: Figure | None
    not_found: float | None


@dataclass(frozen=True)
class Quality:
    """The validation table.

    Args:
        scores: one a method and level, in the table's order.
        verification: one a method and level; empty without a judge or without people who have two photographs.
        people: how many different people the faces show; None where the folder does not say.
    """

    scores: tuple[Score, ...]
    verification: tuple[Verification, ...]
    people: int | None


def score_restorers(
    crops: Sequence[Pixels],
    restorers: Mapping[str, Restorer],
    detector: Detector,
    *,
    judge: Embed | None = None,
    identities: Sequence[str] | None = None,
    levels: Sequence[str] = tuple(LEVELS),
    every: int = 1,
    step: Callable[[str], None] = lambda _: None,
) -> Quality:
    """Degrade, restore and score every crop at every level; face i always gets seed i * every.

    Args:
        crops: clean aligned faces, (S, S, 3) uint8 RGB, all of one size.
        restorers: label -> restorer, in the table's order.
        detector: finds landmarks.
        judge: aligned faces -> embeddings; None leaves identity out.
        identities: one a crop; people with two photographs also give verification figures.
        levels: of the grid.
        every: the crops are every so many-th of a larger set, whose degradations they keep.
        step: called with a level before each batch, `steps_of` times in all, for a progress bar.
    """
    clean, seeds = _Clean(crops, detector, judge), range(0, len(crops) * every, every)
    scores, verification = list[Score](), list[Verification]()
    pairs = [] if identities is None or judge is None else pair_people(identities)
    for level in levels:
        collected = _Collected(detector, judge)
        for start in range(0, len(crops), _BATCH):
            step(level)
            part = slice(start, start + _BATCH)
            _score_batch(crops[part], seeds[part], level, restorers, collected)
        scores += collected.table(level, clean)
        if len(pairs) >= 2 and clean.embeddings is not None:
            verification += _verify_level(level, pairs, clean.embeddings, collected.embeddings)
    return Quality(tuple(scores), tuple(verification), None if identities is None else len(set(identities)))


def steps_of(crops: int, levels: int) -> int:
    """How often `score_restorers` calls its `step`."""
    return levels * -(-crops // _BATCH)


def to_batches(crops: Sequence[Pixels]) -> Iterator[Faces]:
    """Turn crops into batches of faces, a few at a time, so that a large folder needs no memory."""
    for start in range(0, len(crops), _BATCH):
        yield to_faces(list(crops[start : start + _BATCH]))


class _Clean:
    """What the clean faces are like, for all levels."""

    def __init__(self, crops: Sequence[Pixels], detector: Detector, judge: Embed | None) -> None:
        self.embeddings = None if judge is None else np.concatenate([judge(batch) for batch in to_batches(crops)])
        self.landmarks = np.concatenate([find_landmarks(detector, batch) for batch in to_batches(crops)])


class _Collected:
    """Per-face figures of one level, by method."""

    def __init__(self, detector: Detector, judge: Embed | None) -> None:
        self.detector, self.judge = detector, judge
        self.psnr: dict[str, list[Floats]] = {}
        self.ssim: dict[str, list[Floats]] = {}
        self.sharpness: dict[str, list[Floats]] = {}
        self.landmarks: dict[str, list[Floats]] = {}
        self.embeddings: dict[str, list[NDArray[np.floating]]] = {}

    def add(self, method: str, result: Faces, clean: Faces) -> None:
        """Score one method's batch."""
        self.psnr.setdefault(method, []).append(metrics.psnr(result, clean))
        self.ssim.setdefault(method, []).append(metrics.ssim(result, clean))
        self.sharpness.setdefault(method, []).append(metrics.sharpness(result, clean))
        self.landmarks.setdefault(method, []).append(find_landmarks(self.detector, result))
        if self.judge is not None:
            self.embeddings.setdefault(method, []).append(self.judge(result))

    def table(self, level: str, clean: _Clean) -> list[Score]:
        """Average over the faces."""
        return [self._row(method, level, clean) for method in self.psnr]

    def _row(self, method: str, level: str, clean: _Clean) -> Score:
        psnr, given = np.concatenate(self.psnr[method]), np.concatenate(self.psnr[INPUT])
        cosine = None
        if clean.embeddings is not None:
            cosine = _figure(metrics.identity_cosine(np.concatenate(self.embeddings[method]), clean.embeddings))
        errors = metrics.landmark_error(np.concatenate(self.landmarks[method]), clean.landmarks)
        there = np.isfinite(clean.landmarks).all(axis=(1, 2))
        return Score(
            method, level, len(psnr), _figure(psnr), _figure(np.concatenate(self.ssim[method])), _figure(psnr - given),
            sharpness=_figure_where_known(np.concatenate(self.sharpness[method])),
            cosine=cosine,
            landmark_error=_figure_where_known(errors),
            not_found=float(np.isnan(errors[there]).mean()) if there.any() else None,
        )  # fmt: skip


def _score_batch(
    crops: Sequence[Pixels],
    seeds: Sequence[int],
    level: str,
    restorers: Mapping[str, Restorer],
    collected: _Collected,
) -> None:
    seeded = list(zip(crops, seeds, strict=True))
    clean = to_faces(list(crops))
    given = to_faces([degrade_face(crop, level, seed) for crop, seed in seeded])
    collected.add(INPUT, given, clean)
    collected.add(BICUBIC, to_faces([lose_resolution(crop, level, seed) for crop, seed in seeded]), clean)
    for label, restorer in restorers.items():
        collected.add(label, restorer(given), clean)


def _verify_level(
    level: str,
    pairs: Sequence[tuple[int, int]],
    clean: NDArray[np.floating],
    embeddings: Mapping[str, Sequence[NDArray[np.floating]]],
) -> list[Verification]:
    """Clean gallery photographs against the other photograph: clean (the ceiling), degraded, and restored."""
    gallery, probes = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    # One impostor pair at the least, whatever the number of people.
    far = max(1e-3, 1.01 / (len(pairs) * (len(pairs) - 1)))
    sets = {CLEAN: clean, **{method: np.concatenate(parts) for method, parts in embeddings.items()}}
    return [verify(method, level, found[probes], clean[gallery], far) for method, found in sets.items()]


def _figure(values: Floats) -> Figure:
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Figure(float(values.mean()), error)


def _figure_where_known(values: Floats) -> Figure | None:
    known = values[~np.isnan(values)]
    return _figure(known) if len(known) else None
