"""Tasks for worker processes: they must be importable there, and need no network."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pocketface.runtime.batch.record import NO_FACE, FileRecord
from pocketface.runtime.batch.work import Job
from pocketface.runtime.errors import CheckpointError, ImageError


@dataclass(frozen=True)
class Misbehaving:
    """Opens a task that squares numbers and does what else it is told by word."""

    unopened: str = ""
    threads: int = 1

    def __call__(self) -> Callable[[object], object]:
        if self.unopened == "refuse":
            raise CheckpointError("weights", "none")
        if self.unopened == "die":
            os._exit(3)
        return misbehave


def misbehave(job: object) -> object:
    if isinstance(job, int):
        return job * job
    match job:
        case "hang":
            time.sleep(600)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "out of memory":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(0)
        case "raise":
            raise ValueError("a decoder's mood")
        case "talk":
            os.write(1, b"to stdout")
        case "environment":
            return os.environ["OMP_NUM_THREADS"]
    return os.getpid()


@dataclass(frozen=True)
class Copying:
    """Restores by copying bytes, and behaves as a file's content says."""

    seconds: float = 0.0
    threads: int = 1

    def __call__(self) -> Callable[[Job], FileRecord]:
        return self.restore

    def restore(self, job: Job) -> FileRecord:
        time.sleep(self.seconds)
        content = Path(job.source).read_bytes()
        job.result.parent.mkdir(parents=True, exist_ok=True)
        job.result.write_bytes(b"half of it")
        if content in (b"segfault", b"hang"):
            misbehave(content.decode())
        if content == b"damaged":
            return FileRecord(job.name, "failed", error=str(ImageError("a photograph", "damage")))
        job.result.write_bytes(b"restored " + content)
        faces = [{"status": "restored", "box": [0, 0, 1, 1]}]
        stages = {"decode": 0.5, "total": 0.5}
        return FileRecord(
            job.name,
            NO_FACE if content == b"landscape" else "restored",
            output_bytes=job.result.stat().st_size,
            faces=[] if content == b"landscape" else faces,
            seconds=stages,
            worker=os.getpid(),
        )
