"""The validation table: how close to the clean face, and to the person, each method comes, level by level.

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
from ..runtime.images import to_faces
from ..runtime.parity import Embed
from ..runtime.restorer import Faces, Restorer
from .faces_set import Pixels
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
        cosine: between the judge's embeddings of result and clean face; None without a judge.
    """

    method: str
    level: str
    faces: int
    psnr_db: Figure
    ssim: Figure
    gain_db: Figure
    cosine: Figure | None


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
    *,
    judge: Embed | None = None,
    identities: Sequence[str] | None = None,
    levels: Sequence[str] = tuple(LEVELS),
    step: Callable[[str], None] = lambda _: None,
) -> Quality:
    """Degrade, restore and score every crop at every level; face i always gets seed i.

    Args:
        crops: clean aligned faces, (S, S, 3) uint8 RGB, all of one size.
        restorers: label -> restorer, in the table's order.
        judge: aligned faces -> embeddings; None leaves identity out.
        identities: one a crop; people with two photographs also give verification figures.
        levels: of the grid.
        step: called with a level before each batch, `steps_of` times in all, for a progress bar.
    """
    clean_embeddings = None if judge is None else _embed(judge, to_batches(crops))
    scores, verification = list[Score](), list[Verification]()
    pairs = [] if identities is None or judge is None else pair_people(identities)
    for level in levels:
        collected = _Collected()
        for start in range(0, len(crops), _BATCH):
            step(level)
            _score_batch(crops[start : start + _BATCH], start, level, restorers, judge, collected)
        scores += collected.table(level, clean_embeddings)
        if len(pairs) >= 2 and clean_embeddings is not None:
            verification += _verify_level(level, pairs, clean_embeddings, collected.embeddings)
    return Quality(tuple(scores), tuple(verification), None if identities is None else len(set(identities)))


def steps_of(crops: int, levels: int) -> int:
    """How often `score_restorers` calls its `step`."""
    return levels * -(-crops // _BATCH)


def to_batches(crops: Sequence[Pixels]) -> Iterator[Faces]:
    """Turn crops into batches of faces, a few at a time, so that a large folder needs no memory."""
    for start in range(0, len(crops), _BATCH):
        yield to_faces(list(crops[start : start + _BATCH]))


class _Collected:
    """Per-face figures of one level, by method."""

    def __init__(self) -> None:
        self.psnr: dict[str, list[Floats]] = {}
        self.ssim: dict[str, list[Floats]] = {}
        self.embeddings: dict[str, list[NDArray[np.floating]]] = {}

    def add(self, method: str, result: Faces, clean: Faces, judge: Embed | None) -> None:
        """Score one method's batch."""
        self.psnr.setdefault(method, []).append(metrics.psnr(result, clean))
        self.ssim.setdefault(method, []).append(metrics.ssim(result, clean))
        if judge is not None:
            self.embeddings.setdefault(method, []).append(judge(result))

    def table(self, level: str, clean: NDArray[np.floating] | None) -> list[Score]:
        """Average over the faces."""
        given = np.concatenate(self.psnr[INPUT])
        rows = []
        for method, batches in self.psnr.items():
            psnr = np.concatenate(batches)
            cosine = None
            if clean is not None:
                cosine = _figure(metrics.identity_cosine(np.concatenate(self.embeddings[method]), clean))
            ssim = _figure(np.concatenate(self.ssim[method]))
            rows.append(Score(method, level, len(psnr), _figure(psnr), ssim, _figure(psnr - given), cosine))
        return rows


def _score_batch(
    crops: Sequence[Pixels],
    first: int,
    level: str,
    restorers: Mapping[str, Restorer],
    judge: Embed | None,
    collected: _Collected,
) -> None:
    clean = to_faces(list(crops))
    given = to_faces([degrade_face(crop, level, first + index) for index, crop in enumerate(crops)])
    smaller = to_faces([lose_resolution(crop, level, first + index) for index, crop in enumerate(crops)])
    collected.add(INPUT, given, clean, judge)
    collected.add(BICUBIC, smaller, clean, judge)
    for label, restorer in restorers.items():
        collected.add(label, restorer(given), clean, judge)


def _verify_level(
    level: str,
    pairs: Sequence[tuple[int, int]],
    clean: NDArray[np.floating],
    embeddings: Mapping[str, Sequence[NDArray[np.floating]]],
) -> list[Verification]:
    """Clean gallery photographs against the other photograph: clean (the ceiling), degraded, and restored."""
    gallery, probes = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    # One impostor pair at the least, whatever the number of people.
    far = max(0.01, 1.01 / (len(pairs) * (len(pairs) - 1)))
    sets = {CLEAN: clean, **{method: np.concatenate(parts) for method, parts in embeddings.items()}}
    return [verify(method, level, found[probes], clean[gallery], far) for method, found in sets.items()]


def _embed(judge: Embed, batches: Iterator[Faces]) -> NDArray[np.floating]:
    return np.concatenate([judge(batch) for batch in batches])


def _figure(values: Floats) -> Figure:
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Figure(float(values.mean()), error)
