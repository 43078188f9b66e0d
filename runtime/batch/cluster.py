"""The batch on a Ray cluster: Ray Data hands out blocks of names, actors restore them, records come back.

An actor is a light supervisor with one worker process of its own, as on a single machine: a photograph that crashes or
hangs its worker never takes the actor along. An actor or a machine that dies is replaced by Ray, and the block that it
had is done again; outputs are moved into place whole and are the same bytes every time, so that nothing is harmed.
Ray Data draws blocks only as actors fall idle. Every machine needs PocketFace, the model and the folders at the same
paths.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import errors
from ..errors import BackendError, ImageError, PocketFaceError
from .deliver import job_for, settle
from .local import Places
from .pool import Outcome, Worker
from .record import CRASHED, FAILED, Entry, FileRecord, settled
from .stores import Store
from .work import Job, Restoration

_INSTALL = "run: pip install 'pocketface[cluster]'"
# Small blocks: their records come back together, and a lost actor costs one block. Few enough for Ray's bookkeeping.
_BLOCK_FILES, _MOST_BLOCKS = 8, 20_000
_AHEAD = 2  # blocks that an actor has waiting, so that it never idles


def run_ray(
    entries: Sequence[Entry],
    places: Places,
    restoration: Restoration,
    *,
    workers: int,
    timeout: float,
    address: str | None = None,
    gpus: float = 0.0,
) -> Iterator[FileRecord]:
    """Restore entries on a cluster and yield each file's record; outputs are in place by then.

    Args:
        entries: what to restore.
        places: where; the same folders for every machine.
        restoration: how; opened once by every actor.
        workers: actors at most; fewer where the cluster has no room for so many.
        timeout: seconds a file.
        address: of the cluster; None takes the environment's (RAY_ADDRESS), or starts one on this machine.
        gpus: of each actor; less than 1 shares one.

    Raises:
        BackendError: Ray is not installed, the cluster is not there, or it fails.
        PocketFaceError: the model, the detector or a companion cannot be opened.
    """
    ray, ours = _connect(address, workers * restoration.threads)
    blocks = max(1, min(_MOST_BLOCKS, -(-len(entries) // _BLOCK_FILES)))
    rows = [{"entry": json.dumps(asdict(entry))} for entry in entries]
    waiting = {entry.name: entry for entry in entries}
    try:
        given = ray.data.from_items(rows, override_num_blocks=blocks)
        restored = given.map_batches(
            RestoringActor,
            batch_size=1,  # each record leaves the actor as soon as it is there
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=workers, initial_size=workers, max_tasks_in_flight_per_actor=_AHEAD
            ),
            fn_constructor_args=(restoration, places, timeout),
            num_cpus=restoration.threads,
            num_gpus=gpus or None,
        )
        for row in restored.iter_rows():
            if row["refusal"]:
                raise _refusal(row["refusal"])
            record = FileRecord.from_line(row["record"])
            if waiting.pop(record.name, None) is not None:  # a block that was done twice tells twice
                yield record
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        fix = "see `ray status`, then run again to resume"
        raise BackendError("a cluster that finishes the batch", reason, fix) from error
    finally:
        if ours:
            ray.shutdown()
    for entry in waiting.values():
        yield settled(replace(entry, status=CRASHED, error="expected a record of the cluster, got none"))


class RestoringActor:
    """What Ray starts once for each place in the pool: opens the networks and restores batches of entries.

    Args:
        restoration: how.
        places: where.
        timeout: seconds a file.
    """

    def __init__(self, restoration: Restoration, places: Places, timeout: float) -> None:
        name = f"ray-{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._places, self._count = places, 0
        if isinstance(places.output, Store):
            self._corner = Path(tempfile.mkdtemp(prefix=f"pocketface-{name}-"))
            atexit.register(shutil.rmtree, self._corner, ignore_errors=True)
            log = self._corner / "worker.log"
        else:
            self._corner, log = places.work / name, places.logs / f"{name}.log"
            self._corner.mkdir(parents=True, exist_ok=True)
        self._worker: Worker[Job, FileRecord] = Worker(restoration, log, timeout=timeout)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Restore a batch: column `entry` (JSON) to columns `record` (a line of the journal) and `refusal` (JSON)."""
        records, refusal = [], ""
        for text in batch["entry"]:
            try:
                records.append(self._restore(Entry(**json.loads(text))).to_line())
            except PocketFaceError as error:  # the networks cannot be opened; Ray would only try again
                refusal = json.dumps([type(error).__name__, error.expected, error.got, error.fix])
                records.append("")
        return {"record": np.array(records), "refusal": np.array([refusal] * len(records))}

    def _restore(self, entry: Entry) -> FileRecord:
        self._count += 1
        job = job_for(entry, self._places.root, self._corner, self._count)
        if not isinstance(self._places.root, Store):
            return settle(entry, self._worker.ask(job), self._places.output)
        try:
            self._places.root.fetch(entry.name, job.source)
            return settle(entry, self._worker.ask(job), self._places.output)
        except ImageError as error:
            return settle(entry, Outcome(job, None, FAILED, str(error), os.getpid()), self._places.output)
        finally:
            job.source.unlink(missing_ok=True)


def _connect(address: str | None, cores: int) -> tuple[Any, bool]:
    """Return Ray, and whether this call has started or joined a cluster."""
    try:
        ray = importlib.import_module("ray")
        data = importlib.import_module("ray.data")
    except ImportError as error:
        raise BackendError("Ray", f"no {error.name}", _INSTALL) from error
    ours = not ray.is_initialized()
    if ours:
        address = address or os.environ.get("RAY_ADDRESS")
        named: dict[str, Any] = {"address": address} if address else {"num_cpus": cores, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **named)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BackendError(f"a Ray cluster at {address or 'this machine'}", reason, "see `ray status`") from error
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray, ours


def _refusal(text: str) -> PocketFaceError:
    """The error that an actor has met."""
    kind, expected, got, fix = json.loads(text)
    return getattr(errors, kind)(expected, got, fix)
