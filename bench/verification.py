"""How well cosines tell genuine pairs from impostors: is a restored face still taken for the same person?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Separation:
    """How well genuine pairs stand apart from impostors.

    Args:
        probes, gallery: faces on either side.
        rank1: share of probes whose nearest gallery face is their own person.
        auc: probability that a genuine cosine exceeds an impostor's, ties counting half.
        tar: share of genuine pairs accepted at the threshold that accepts at most `far` of the impostors.
        far: that share of impostors.
        threshold: the cosine above which pairs are accepted there.
        genuine_median, genuine_least, impostor_median, impostor_most: cosines.
    """

    probes: int
    gallery: int
    rank1: float
    auc: float
    tar: float
    far: float
    threshold: float
    genuine_median: float
    genuine_least: float
    impostor_median: float
    impostor_most: float


def verify(
    method: str, level: str, probes: NDArray[np.floating], gallery: NDArray[np.floating], far: float = 1e-3
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


def verify_identities(cosines: NDArray[np.floating], own: NDArray[np.integer], far: float = 1e-3) -> Separation:
    """Score a table of cosines.

    Args:
        cosines: (probes, gallery).
        own: (probes,), the gallery index of each probe's person.
        far: accepted share of impostors.

    Raises:
        InputError: no probe, or a gallery without a second person.
    """
    probes, gallery = cosines.shape
    if probes < 1 or gallery < 2:
        raise InputError("at least one probe and two people", f"{probes} probes and {gallery} people")
    genuine, impostors = split_pairs(cosines, own)
    tar, threshold = accept_at(genuine, impostors, far)
    return Separation(
        probes, gallery, float((cosines.argmax(1) == own).mean()), area_under_curve(genuine, impostors),
        tar, far, threshold, float(np.median(genuine)), float(genuine.min()),
        float(np.median(impostors)), float(impostors.max()),
    )  # fmt: skip


def split_pairs(
    cosines: NDArray[np.floating], own: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The genuine cosines (P,) and the impostors' (P * (G - 1),) of a table (P, G) as in `verify_identities`."""
    mine = np.zeros(cosines.shape, bool)
    mine[np.arange(len(cosines)), own] = True
    return cosines[mine], cosines[~mine]


def area_under_curve(genuine: NDArray[np.floating], impostors: NDArray[np.floating]) -> float:
    """Probability that a genuine cosine exceeds an impostor's, ties counting half; neither side may be empty."""
    ordered = np.sort(impostors)
    below = np.searchsorted(ordered, genuine, "left") + np.searchsorted(ordered, genuine, "right")
    return float(below.mean() / 2 / len(ordered))


def accept_at(genuine: NDArray[np.floating], impostors: NDArray[np.floating], far: float) -> tuple[float, float]:
    """Share of genuine pairs above the threshold that at most `far` of the impostors exceed, and that threshold.

    With fewer than 1 / far impostors none may exceed it.
    """
    ordered = np.sort(impostors)
    threshold = ordered[len(ordered) - 1 - int(far * len(ordered))]
    return float((genuine > threshold).mean()), float(threshold)


def pair_people(identities: Sequence[str]) -> list[tuple[int, int]]:
    """Find (gallery, probe) indices: the first two photographs of everyone who has two."""
    seen: dict[str, list[int]] = {}
    for index, identity in enumerate(identities):
        seen.setdefault(identity, []).append(index)
    return [(places[0], places[1]) for places in seen.values() if len(places) >= 2]


def pair_probes(people: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """Choose the first face of each person for the gallery and all others as probes.

    Returns:
        Indices of the gallery, indices of the probes, and for each probe its place in the gallery.
    """
    place: dict[str, int] = {}
    gallery, probes, own = [], [], []
    for index, person in enumerate(people):
        if person in place:
            probes.append(index)
            own.append(place[person])
        else:
            place[person] = len(gallery)
            gallery.append(index)
    return gallery, probes, own
