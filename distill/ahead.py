"""Preparing the next batch while the device works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from .task import Batch


class Ahead:
    """Draws batch n + 1 in a thread while batch n is in use; what is drawn does not depend on when.

    On a GPU the drawing is many small launches and a little work on the CPU, which would leave the device waiting. On a
    CPU it would only fight the step for the same cores: use `active=False`.

    Args:
        draw: number of a batch -> the batch.
        active: False draws each batch when it is asked for.
    """

    def __init__(self, draw: Callable[[int], Batch], *, active: bool) -> None:
        self._draw = draw
        self._pool = ThreadPoolExecutor(1, "ahead") if active else None
        self._next: tuple[int, Future[Batch]] | None = None

    def get(self, number: int, following: int | None) -> Batch:
        """Give one batch and begin with the one that will follow, if any."""
        if self._pool is None:
            return self._draw(number)
        ready = self._next[1] if self._next is not None and self._next[0] == number else None
        batch = self._draw(number) if ready is None else ready.result()
        self._next = None if following is None else (following, self._pool.submit(self._draw, following))
        return batch

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
