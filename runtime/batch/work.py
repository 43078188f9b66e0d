"""What a worker does with one photograph: read, restore, write into its own corner, and say what happened.

A worker never touches the output tree: it hands over a finished file, which its supervisor moves into place.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import ImageError, PocketFaceError
from ..options import PhotoOptions
from .record import FAILED, NO_FACE, RESTORED, UNCHANGED, FileRecord

_CHUNK_BYTES = 1 << 20
_MIB = 1 << 20
_CHANGED = frozenset({"restored", "weakened", "anonymised"})  # statuses of faces


@dataclass(frozen=True)
class Job:
    """One photograph.

    Args:
        name: place below the root, for the record.
        source: file to read.
        result: file to write; the supervisor moves it.
        same_format: the output keeps the input's format, so that an unchanged photograph keeps its bytes.
    """

    name: str
    source: Path
    result: Path
    same_format: bool


@dataclass(frozen=True)
class Restoration:
    """Opens everything that restores photographs; plain values, picklable.

    Args:
        model, detector: as on the command line.
        device: where networks run that can choose.
        threads: CPU threads of each engine.
        options: what to do with a photograph.
        options_sha256: of everything but the model that decides the output.
    """

    model: str
    detector: str
    device: str
    threads: int
    options: PhotoOptions
    options_sha256: str

    def __call__(self) -> Callable[[Job], FileRecord]:
        """Open the networks once.

        Raises:
            PocketFaceError: a file that is missing, damaged or of another kind, or an engine that is not installed.
        """
        import cv2

        from ..backends import open_restorer
        from ..companions import open_companions
        from ..faces.detect import open_detector
        from ..photo import restore_photo

        cv2.setNumThreads(self.threads)
        restorer = open_restorer(self.model, device=self.device, threads=self.threads)
        detector = open_detector(self.detector, threads=self.threads)
        companions = open_companions(self.options, detector, device=self.device, threads=self.threads)

        def restore(photo: Any) -> Any:
            return restore_photo(photo, restorer, detector, self.options, companions, overwrite=True)

        return _PhotoTask(restore, restorer.info.sha256, self.options_sha256, self.options.anonymise != "nobody")


class _PhotoTask:
    """Turns a job into a record."""

    def __init__(self, restore: Callable[[Any], Any], model: str, options: str, anonymous: bool) -> None:  # noqa: FBT001
        self._restore, self._model, self._options, self._anonymous = restore, model, options, anonymous

    def __call__(self, job: Job) -> FileRecord:
        start, cpu = time.perf_counter(), time.process_time()
        record = FileRecord(job.name, FAILED, model=self._model, options=self._options, worker=os.getpid())
        try:
            record = replace(record, input=_stamp(job.source))
            restored = self._run(job, record)
            restored.to_line()  # what cannot be recorded is not done
            record = restored
        except PocketFaceError as error:
            record = replace(record, error=str(error))
        except Exception as error:
            record = replace(record, error=f"{type(error).__name__}: {error}".splitlines()[0])
        seconds = {**record.seconds, "total": time.perf_counter() - start}
        rounded = {stage: round(value, 5) for stage, value in seconds.items()}
        when = datetime.now(UTC).isoformat(timespec="seconds")
        spent = round(time.process_time() - cpu, 5)
        return replace(record, seconds=rounded, cpu_seconds=spent, rss_mib=round(resident_mib(), 1), when=when)

    def _run(self, job: Job, record: FileRecord) -> FileRecord:
        from ..images import check_destination, read_photo, write_photo

        begin = time.perf_counter()
        photo = read_photo(job.source)
        read = time.perf_counter() - begin
        check_destination(job.result, photo)
        result = self._restore(photo)
        begin = time.perf_counter()
        if result.photo is photo and job.same_format and not self._anonymous:  # a thumbnail may show whom nobody found
            job.result.parent.mkdir(parents=True, exist_ok=True)
            job.result.write_bytes(job.source.read_bytes())
        else:
            write_photo(result.photo, job.result)
        written = time.perf_counter() - begin
        changed = result.photo is not photo or any(face.status in _CHANGED for face in result.faces)
        height, width = photo.rgb.shape[:2]
        return replace(
            record,
            status=RESTORED if changed else UNCHANGED if result.faces else NO_FACE,
            output_bytes=job.result.stat().st_size,
            width=width,
            height=height,
            faces=[face.to_json() for face in result.faces],
            seconds={"decode": read, **result.seconds, "encode": written},
        )


def _stamp(path: Path) -> dict[str, Any]:
    """Size, time and hash of a file; refuses what would make a reader wait for ever.

    Raises:
        ImageError: not a regular file, or not readable.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("a regular file", f"a pipe, a socket or a device at {path}")
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise ImageError("a readable file", f"{path}: {error.strerror}") from error
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": digest.hexdigest()}


def resident_mib() -> float:
    """Memory of this process now; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB
    except OSError:
        import resource  # absent on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / _MIB if sys.platform == "darwin" else peak / 1024
