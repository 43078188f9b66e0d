"""Worker processes that may crash or hang: only the job they had is lost, and another worker takes their place.

A task is anything that `open_task()` returns and that turns a job into a result; it is opened once a process.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from ..errors import BackendError, PocketFaceError
from .record import CRASHED, FAILED, TIMEOUT

Job = TypeVar("Job")
Result = TypeVar("Result")
# Pickled to the worker, where it opens networks and gives the function that is called for every job.
OpenTask: TypeAlias = Callable[[], Callable[[Any], Any]]

_START_SECONDS = 300.0  # to open networks on a loaded machine
_LEAVE_SECONDS = 5.0
_STARTS = 3  # in a row without a worker coming up, before the batch gives up
RECYCLE = 1000  # jobs: a second to load the networks is nothing beside so many
# Each process is one engine thread; libraries with pools of their own read these when they are loaded.
_ONE_THREAD: dict[str, str] = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of a job.

    Args:
        job: as it was given.
        result: what the task returned; None where it was lost.
        loss: empty, `failed` (the task raised), `crashed` or `timeout`.
        error: one line about the loss.
        process: id of the worker.
    """

    job: Job
    result: Result | None
    loss: str
    error: str
    process: int


@dataclass(frozen=True)
class _Raised:
    """The task raised: one line about it."""

    error: str


class Worker(Generic[Job, Result]):
    """One supervised process; it comes up while the caller does other things.

    Args:
        open_task: opens the task inside the process.
        log: file for everything that the process says, crashes included.
        timeout: seconds that a job may take.
        recycle: end the process after so many jobs and start another, which bounds what any leak can grow to.
    """

    def __init__(self, open_task: OpenTask, log: Path, *, timeout: float, recycle: int = RECYCLE) -> None:
        self._open_task, self._log, self._timeout, self._recycle = open_task, log, timeout, recycle
        self._job: Job | None = None
        self._failed_starts = 0
        self._start()

    @property
    def busy(self) -> bool:
        """Whether it has a job."""
        return self._job is not None

    def waitables(self) -> list[Any]:
        """What becomes ready when there is something to collect."""
        return [self._connection, self._process.sentinel]

    def seconds_left(self) -> float:
        """Until the time to come up, or the job's time, is over."""
        return max(0.0, self._deadline - time.monotonic())

    def give(self, job: Job) -> None:
        """Hand over a job; the worker must not be busy."""
        if self._served >= self._recycle:
            self.close()
            self._start()
        self._job = job
        self._served += 1
        if self._ready:
            self._deadline = time.monotonic() + self._timeout
        self._send()

    def collect(self) -> Outcome[Job, Result] | None:
        """The job's outcome, or None while there is none; a lost process is replaced.

        Raises:
            PocketFaceError: what opening the task raised.
            BackendError: the process does not come up.
        """
        alive = self._process.is_alive()  # asked first: what was sent before the end still counts
        try:
            if self._connection.poll():
                return self._receive(self._connection.recv())
        except (EOFError, OSError):
            alive = False
        if alive and self.seconds_left() > 0:
            return None
        if not self._ready:
            self._start_again()
            return None
        if alive:
            return self._lose(TIMEOUT, f"expected an end within {self._timeout:g} s, got none")
        return self._lose(CRASHED, f"expected an answer of the worker, got {self._ending()}")

    def ask(self, job: Job) -> Outcome[Job, Result]:
        """Hand over a job and wait for its outcome; raises as `collect` does."""
        self.give(job)
        while True:
            wait(self.waitables(), self.seconds_left())
            outcome = self.collect()
            if outcome is not None:
                return outcome

    def close(self) -> None:
        """End the process, whatever it does; an idle one may still put its things away."""
        self._connection.close()
        if self._ready and not self.busy:
            self._process.join(_LEAVE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def _send(self) -> None:
        with suppress(OSError):  # a process that has just died is noticed by collect()
            self._connection.send(self._job)

    def _receive(self, answer: Any) -> Outcome[Job, Result] | None:
        if isinstance(answer, PocketFaceError):
            raise answer
        if not self._ready:
            self._ready, self._failed_starts = True, 0
            self._deadline = time.monotonic() + self._timeout
            return None
        assert self._job is not None  # noqa: S101 - it answers when it is asked
        job, self._job = self._job, None
        if isinstance(answer, _Raised):
            return Outcome(job, None, FAILED, answer.error, self._process.pid or 0)
        return Outcome(job, answer, "", "", self._process.pid or 0)

    def _lose(self, loss: str, error: str) -> Outcome[Job, Result]:
        assert self._job is not None  # noqa: S101 - only a busy worker is collected from
        lost: Outcome[Job, Result] = Outcome(self._job, None, loss, error, self._process.pid or 0)
        self._job, self._ready = None, False
        self.close()
        self._start()
        return lost

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._open_task, theirs, self._log), daemon=True)
        self._ready, self._served = False, 0
        self._deadline = time.monotonic() + _START_SECONDS
        with _environment(_ONE_THREAD), _nothing_in_main():
            self._process.start()
        theirs.close()

    def _start_again(self) -> None:
        """The process ended, or said nothing, before it was ready; the job waits for the next one."""
        self._failed_starts += 1
        if self._failed_starts == _STARTS:
            fix = f"use fewer workers, or see {self._log}"
            raise BackendError("a worker process that comes up", self._ending(), fix)
        self.close()
        self._start()
        if self._job is not None:
            self._served = 1
            self._send()

    def _ending(self) -> str:
        """How the process ended."""
        self._process.join(5)
        code = self._process.exitcode
        if code is None:
            return "no answer"
        return f"its end by {_signal_name(-code)}" if code < 0 else f"its end with exit code {code}"


def run_jobs(
    open_task: OpenTask,
    jobs: Iterable[Job],
    *,
    workers: int,
    timeout: float,
    logs: Path,
    recycle: int = RECYCLE,
) -> Iterator[Outcome[Job, Any]]:
    """Run jobs in worker processes and yield each outcome as it comes.

    Args:
        open_task: opens the task inside a worker.
        jobs: drawn only as workers fall idle, so that any number of them takes no memory.
        workers: processes.
        timeout: seconds a job.
        logs: folder for what the workers say.
        recycle: jobs after which a worker is replaced.

    Raises:
        PocketFaceError: the task cannot be opened.
    """
    logs.mkdir(parents=True, exist_ok=True)
    stream = iter(jobs)
    pool: list[Worker[Job, Any]] = []
    try:
        for job in stream:  # one worker for each of the first jobs, and never more workers than jobs
            pool.append(Worker(open_task, logs / f"worker-{len(pool)}.log", timeout=timeout, recycle=recycle))
            pool[-1].give(job)
            if len(pool) == workers:
                break
        while busy := [worker for worker in pool if worker.busy]:
            waited = [one for worker in busy for one in worker.waitables()]
            wait(waited, min(worker.seconds_left() for worker in busy))
            for worker in busy:
                outcome = worker.collect()
                if outcome is None:
                    continue
                following = next(stream, None)
                if following is not None:
                    worker.give(following)
                yield outcome
    finally:
        for worker in pool:
            worker.close()


def _serve(open_task: OpenTask, connection: Connection, log: Path) -> None:
    """What a worker process does until it is ended or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    _redirect_output(log)
    _end_with_parent()
    try:
        task = open_task()
    except PocketFaceError as error:
        connection.send(error)
        return
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = task(job)
        except Exception as error:
            traceback.print_exc()
            answer = _Raised(f"{type(error).__name__}: {error}".splitlines()[0])
        try:
            connection.send(answer)
        except OSError:
            return


def _redirect_output(log: Path) -> None:
    """Send everything that libraries and the interpreter say to a file: the terminal is the parent's."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        for ours in (1, 2):
            os.dup2(stream.fileno(), ours)
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    faulthandler.enable()


def _end_with_parent() -> None:
    """End this process when its parent is gone, even in the middle of a job."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this runs in a child

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _nothing_in_main() -> Iterator[None]:
    """Keep multiprocessing from importing the parent's main module, which under Ray is all of Ray, into the child."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started inside the block; what the user has set stays."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
