"""Where the time of a training step goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SECTIONS: tuple[str, ...] = ("data", "forward", "losses", "backward", "critics", "update")


class Clock:
    """Adds up seconds by section.

    Args:
        device: where the work runs.
        exact: wait for the device at the end of each section. A GPU works behind the program's back, so without waiting
            its seconds fall on whichever section happens to wait; waiting costs speed, so only a profile asks for it.
    """

    def __init__(self, device: torch.device, *, exact: bool = False) -> None:
        self._wait = exact and device.type == "cuda"
        self._device = device
        self._seconds: dict[str, float] = {}
        self.take()

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Count the block's seconds under a name of SECTIONS."""
        began = time.perf_counter()
        try:
            yield
        finally:
            if self._wait:
                torch.cuda.synchronize(self._device)
            self._seconds[name] += time.perf_counter() - began

    def take(self) -> dict[str, float]:
        """The seconds since the last call, by section."""
        taken, self._seconds = self._seconds, dict.fromkeys(SECTIONS, 0.0)
        return taken
