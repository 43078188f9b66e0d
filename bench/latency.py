"""How long one face takes: all candidates in turn, round after round, so that a busy moment hurts all alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.errors import PocketFaceError
from ..runtime.restorer import Faces, Restorer
from .candidates import Candidate

WARM_UP_ROUNDS = 2
# Engines keep worker threads spinning for a few milliseconds after a call; without a pause they rob the next engine.
_PAUSE_SECONDS = 0.005
# Computes Core ML files away from Apple's hardware, to prove them: its speed says nothing of theirs.
_NOT_TIMED = {"mil": "not timed: off a Mac the file is only proven, by an evaluator whose speed is not Apple's"}
Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """One candidate at one size with one number of threads.

    Args:
        label: of the candidate.
        engine, device: what ran it, and where.
        size: S.
        threads: CPU threads it was opened with.
        rounds: how often it was timed after warming up; 0 where it could not run.
        median_ms, p90_ms: of one face, milliseconds.
        ratio: median over the rounds of its time over the baseline's time in the same round; None without a baseline.
        error: why there are no figures.
    """

    label: str
    engine: str
    device: str
    size: int
    threads: int
    rounds: int = 0
    median_ms: float | None = None
    p90_ms: float | None = None
    ratio: float | None = None
    error: str = ""


def time_candidates(
    candidates: Sequence[Candidate],
    face: Faces,
    *,
    threads: int,
    baseline: str,
    rounds: int = 30,
    seconds: float = 20.0,
    turn_seconds: float = 0.0,
    clock: Clock = time.perf_counter,
) -> list[Timing]:
    """Time candidates on one face, interleaved; files of another fixed size are left out.

    Args:
        candidates: what to time; PyTorch has one thread setting for the process, which stays changed afterwards.
        face: (1, 3, S, S).
        threads: CPU threads for each engine.
        baseline: label of the candidate that ratios refer to.
        rounds: at most so many.
        seconds: stop early once so much time is spent, but not before three rounds.
        turn_seconds: call a candidate again within its turn until so much time has passed, and count the mean. On a
            machine with neighbours a call of milliseconds sees one moment, and one of seconds sees them all.
        clock: seconds; for tests.
    """
    size, opened, failed = face.shape[-1], list[tuple[Candidate, Restorer]](), list[Timing]()
    for candidate in candidates:
        try:
            restorer = candidate.open(threads=threads)
            if restorer.info.size not in (None, size):
                continue
            for _ in range(WARM_UP_ROUNDS if restorer.info.engine not in _NOT_TIMED else 0):
                restorer(face)
        except PocketFaceError as error:
            failed.append(Timing(candidate.label, "", "", size, threads, error=str(error)))
            continue
        if reason := _NOT_TIMED.get(restorer.info.engine):
            info = restorer.info
            failed.append(Timing(candidate.label, info.engine, info.device, size, threads, error=reason))
        else:
            opened.append((candidate, restorer))
    times = _interleave([restorer for _, restorer in opened], face, rounds, seconds, turn_seconds, clock)
    labels = [candidate.label for candidate, _ in opened]
    base = times[labels.index(baseline)] if baseline in labels else None
    timings = [
        _summarise(candidate, restorer, size, threads, own, base)
        for (candidate, restorer), own in zip(opened, times, strict=True)
    ]
    return timings + failed


def thread_counts() -> list[int]:
    """One thread, and all cores that this process may use where there are more."""
    # Not os.cpu_count(): a container may own two cores of sixty-four.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [1] if cores == 1 else [1, cores]


def _interleave(
    restorers: Sequence[Restorer], face: Faces, rounds: int, seconds: float, turn_seconds: float, clock: Clock
) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in restorers]
    order = np.random.default_rng(0)
    start = clock()
    for turn in range(rounds):
        if turn >= 3 and clock() - start > seconds:
            break
        # Another order each round: nobody always runs in the cache that the slowest one has just emptied.
        for index in order.permutation(len(restorers)):
            time.sleep(_PAUSE_SECONDS)
            times[index].append(_turn(restorers[index], face, turn_seconds, clock))
    return times


def _turn(restorer: Restorer, face: Faces, seconds: float, clock: Clock) -> float:
    """Seconds of a call: one, or the mean of as many as fill the time."""
    before, calls = clock(), 0
    while True:
        restorer(face)
        calls += 1
        taken = clock() - before
        if taken >= seconds:
            return taken / calls


def _summarise(
    candidate: Candidate, restorer: Restorer, size: int, threads: int, own: list[float], base: list[float] | None
) -> Timing:
    median, p90 = (float(np.percentile(own, share)) * 1e3 for share in (50, 90))
    ratio = None if base is None else float(np.median(np.divide(own, base)))
    return Timing(
        candidate.label, restorer.info.engine, restorer.info.device, size, threads, len(own), median, p90, ratio
    )
