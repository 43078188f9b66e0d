"""Workers that hang, crash and refuse: everything but their own job goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pocketface.runtime.batch.pool import Outcome, Worker, run_jobs
from pocketface.runtime.errors import BackendError, CheckpointError

from .batch_fakes import Misbehaving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes import the fakes by this module's path."""
    monkeypatch.syspath_prepend(ROOT)


def outcomes(
    jobs: list[object], folder: Path, workers: int = 2, **named: float
) -> dict[object, Outcome[object, object]]:
    found = list(run_jobs(Misbehaving(), jobs, workers=workers, timeout=named.get("timeout", 60), logs=folder))
    assert len(found) == len(jobs)
    return {one.job: one for one in found}


def test_every_job_has_an_outcome_and_only_the_bad_ones_are_lost(tmp_path: Path) -> None:
    jobs: list[object] = [*range(4), "segfault", *range(4, 8), "out of memory", "raise", "exit", *range(8, 12)]
    found = outcomes(jobs, tmp_path)
    assert {job: one.result for job, one in found.items() if not one.loss} == {n: n * n for n in range(12)}
    assert {job: one.loss for job, one in found.items() if one.loss} == {
        "segfault": "crashed", "out of memory": "crashed", "exit": "crashed", "raise": "failed",
    }  # fmt: skip
    assert "SIGSEGV" in found["segfault"].error
    assert "SIGKILL" in found["out of memory"].error
    assert "a decoder's mood" in found["raise"].error


def test_a_hanging_job_is_ended_in_time(tmp_path: Path) -> None:
    start = time.monotonic()
    found = outcomes([1, "hang", 2], tmp_path, workers=1, timeout=1.0)
    assert found["hang"].loss == "timeout"
    assert (found[1].result, found[2].result) == (1, 4)
    assert time.monotonic() - start < 60  # two starts of an interpreter on a loaded machine, not ten minutes of sleep


def test_each_process_is_one_thread_and_serves_many_jobs(tmp_path: Path) -> None:
    found = outcomes(["environment", "who", "who again"], tmp_path, workers=1)
    assert found["environment"].result == os.environ.get("OMP_NUM_THREADS", "1")
    assert found["who"].result == found["who again"].result != os.getpid()


def test_a_process_is_replaced_after_its_share(tmp_path: Path) -> None:
    found = list(run_jobs(Misbehaving(), ["a", "b", "c"], workers=1, timeout=60, logs=tmp_path, recycle=2))
    assert found[0].result == found[1].result != found[2].result


def test_what_cannot_be_opened_is_the_batchs_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="weights"):
        list(run_jobs(Misbehaving("refuse"), [1, 2], workers=2, timeout=60, logs=tmp_path))


def test_a_process_that_never_comes_up_is_the_batchs_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="exit code 3"):
        list(run_jobs(Misbehaving("die"), [1], workers=1, timeout=60, logs=tmp_path))


def test_no_job_no_process(tmp_path: Path) -> None:
    assert list(run_jobs(Misbehaving("die"), [], workers=2, timeout=60, logs=tmp_path)) == []


def test_a_worker_alone_can_be_asked(tmp_path: Path) -> None:
    worker: Worker[object, object] = Worker(Misbehaving(), tmp_path / "log", timeout=60)
    try:
        assert worker.ask(3).result == 9
        assert worker.ask("segfault").loss == "crashed"
        assert worker.ask(4).result == 16
    finally:
        worker.close()


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from pocketface.runtime.batch.pool import run_jobs\n"
        "from tests.runtime.batch_fakes import Misbehaving\n"
        "for one in run_jobs(Misbehaving(), ['who', 'hang'], workers=1, timeout=600, logs=Path(sys.argv[1])):\n"
        "    print(one.result, flush=True)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), str(ROOT)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert _alive(worker)
        parent.kill()
    deadline = time.monotonic() + 30
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(process: int) -> bool:
    """Whether a process is there and not merely waiting to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_worker_says_goes_to_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert outcomes(["talk", "segfault"], tmp_path, workers=1)["talk"].loss == ""
    assert capfd.readouterr() == ("", "")
    logs = "".join(log.read_text(encoding="utf-8") for log in tmp_path.iterdir())
    assert "to stdout" in logs
    assert "Segmentation fault" in logs  # and where it was, in Python's words
