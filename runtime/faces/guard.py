"""The identity guard: a restored face must still show the person that it showed before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .identity import Embedder
from .paste import Crop

# Shares of the change that are tried, from strong to weak, where the whole of it shows somebody else.
SHARES = (0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Verdict:
    """What the guard lets pass of one face's change.

    Args:
        share: of the change, 1 for all of it, 0 for none.
        cosine: of identity between the face before and with that share of the change.
        asked: the same with all of it.
    """

    share: float
    cosine: float
    asked: float


def guard_identity(
    given: Sequence[Crop], restored: Sequence[Crop], before: NDArray[np.float32], identity: Embedder, floor: float
) -> list[Verdict]:
    """Find for each face the largest share of the restorer's change under which it stays the same person.

    Args:
        given: aligned crops (S, S, 3) before.
        restored: the same crops after.
        before: (N, D) embeddings of `given`.
        identity: gives such embeddings.
        floor: least cosine that counts as the same person.
    """
    asked = _cosines(restored, before, identity)
    verdicts = [Verdict(1.0, cosine, cosine) for cosine in asked]
    for index, cosine in enumerate(asked):
        if cosine < floor:
            verdicts[index] = _weaken(given[index], restored[index], before[index], identity, floor, cosine)
    return verdicts


def _weaken(
    given: Crop, restored: Crop, before: NDArray[np.float32], identity: Embedder, floor: float, asked: float
) -> Verdict:
    tried = [(given + share * (restored - given)).astype(np.float32) for share in SHARES]
    cosines = _cosines(tried, np.repeat(before[None], len(tried), axis=0), identity)
    passed = (Verdict(share, cosine, asked) for share, cosine in zip(SHARES, cosines, strict=True) if cosine >= floor)
    return next(passed, Verdict(0.0, 1.0, asked))


def _cosines(crops: Sequence[Crop], before: NDArray[np.float32], identity: Embedder) -> list[float]:
    faces = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2), np.float32)
    return np.einsum("nd,nd->n", identity(faces), before).tolist()
