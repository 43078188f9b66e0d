"""Is a restored face still taken for the same person? Verification over people who have two photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..distill.identity_validation import verify_identities
from ..runtime.errors import InputError


@dataclass(frozen=True)
class Verification:
    """How well probes find their people in a gallery.

    Args:
        method: whose probes: `clean`, `input`, `student`, ...
        level: how the probes were degraded.
        people: in the gallery.
        rank1: share of probes whose nearest gallery face is their own, [0, 1].
        tar: share of genuine pairs accepted at the threshold that admits `far` of the impostor pairs, [0, 1].
        far: false accept rate that `tar` is quoted at.
        genuine_cosine: mean cosine of probe and own gallery face.
    """

    method: str
    level: str
    people: int
    rank1: float
    tar: float
    far: float
    genuine_cosine: float


def verify(
    method: str, level: str, probes: NDArray[np.floating], gallery: NDArray[np.floating], far: float = 0.01
) -> Verification:
    """Match each probe against the whole gallery; row i of both is the same person.

    Args:
        method, level: for the table.
        probes, gallery: unit-length embeddings (P, D).
        far: share of impostor pairs to admit.

    Raises:
        InputError: fewer than two people, or too few impostor pairs for `far`.
    """
    people = len(probes)
    if people < 2 or probes.shape != gallery.shape:
        raise InputError("two embeddings each of at least two people", f"{probes.shape} and {gallery.shape}")
    if far * people * (people - 1) < 1:
        raise InputError(f"enough people for a false accept rate of {far:g}", f"{people * (people - 1)} impostor pairs")
    cosines = np.asarray(probes, np.float64) @ np.asarray(gallery, np.float64).T
    found = verify_identities(cosines, np.arange(people), far)
    return Verification(method, level, people, found.rank1, found.tar, far, float(np.diag(cosines).mean()))


def pair_people(identities: Sequence[str]) -> list[tuple[int, int]]:
    """Find (gallery, probe) indices: the first two photographs of everyone who has two."""
    seen: dict[str, list[int]] = {}
    for index, identity in enumerate(identities):
        seen.setdefault(identity, []).append(index)
    return [(places[0], places[1]) for places in seen.values() if len(places) >= 2]
