"""The batch over a real local Ray of several workers; `make test-cluster` runs these where Ray is not installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pocketface.runtime import cli
from pocketface.runtime.batch.journal import records_of

ROOT = Path(__file__).resolve().parents[2]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: make test-cluster"
)

RUN = """
import sys
from pocketface.runtime import cli
from pocketface.runtime.batch import command
from tests.runtime.batch_fakes import Copying, Misbehaving
command.Restoration = lambda *_: Misbehaving("refuse") if sys.argv[1] == "refuse" else Copying(float(sys.argv[1]))
words = ["--engine", "ray", "--workers", "3", "--quiet", *sys.argv[4:]]
sys.exit(cli.main(["restore", sys.argv[2], "-o", sys.argv[3], *words]))
"""


def command(folder: Path | str, output: Path | str, mood: str = "0", *more: str) -> subprocess.Popen[str]:
    # Ray's workers are polite to others by default, which on a loaded machine keeps them from ever coming up.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0", "RAY_ADDRESS": ""}
    words = [sys.executable, "-c", RUN, mood, str(folder), str(output), *more]
    return subprocess.Popen(  # noqa: S603
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fill(folder: Path, count: int) -> dict[str, bytes]:
    content = {f"box-{number % 3}/{number:03d}.jpg": b"%d" % number for number in range(count)}
    content |= {"box-0/bad.jpg": b"damaged", "box-1/worse.jpg": b"segfault", "letter.txt": b"Dear all"}
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return content


def restored(content: dict[str, bytes]) -> dict[str, bytes]:
    return {name: b"restored " + data for name, data in content.items() if data.isdigit()}


def written(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*.jpg")}


@needs_ray
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost_or_different(tmp_path: Path) -> None:
    content, output = fill(tmp_path / "in", 60), tmp_path / "out"
    killed = 0
    with command(tmp_path / "in", output, "0.1") as process:
        while process.poll() is None:
            working = list((output / ".pocketface" / "logs").glob("ray-*"))  # begun by an actor with its first job
            if not killed and working and len(written(output)) >= 10:
                killed = int(working[0].name.split("-")[-2])
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.02)
        said = process.stderr.read() if process.stderr else ""
    assert killed, said
    assert process.returncode == 1, said  # bad.jpg and worse.jpg
    assert written(output) == restored(content)
    found = {record.name: record.status for record in records_of(output)}
    assert {name: status for name, status in found.items() if status != "restored"} == {
        "box-0/bad.jpg": "failed", "box-1/worse.jpg": "crashed", "letter.txt": "ignored",
    }  # fmt: skip
    assert set(found) == set(content)
    assert len(list((output / ".pocketface" / "logs").glob("ray-*"))) > 1
    assert not (output / ".pocketface" / "work").exists()


@needs_ray
def test_a_cluster_resumes_what_one_machine_began(tmp_path: Path) -> None:
    content, output = fill(tmp_path / "in", 6), tmp_path / "out"
    with command(tmp_path / "in", output) as process:
        process.wait()
    stamps = {name: (output / name).stat().st_mtime_ns for name in restored(content)}
    (tmp_path / "in" / "new.jpg").write_bytes(b"7")
    with command(tmp_path / "in", output) as process:
        said = process.communicate()[0]
    assert "9 settled before" in said
    assert {name: (output / name).stat().st_mtime_ns for name in stamps} == stamps
    assert (output / "new.jpg").read_bytes() == b"restored 7"


@needs_ray
def test_a_model_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    fill(tmp_path / "in", 2)
    with command(tmp_path / "in", tmp_path / "out", "refuse") as process:
        said = process.communicate()[1]
    assert process.returncode == 2
    assert said.splitlines()[-1] == "pocketface restore: expected weights, got none"
    assert "Traceback" not in said


def test_without_ray_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "in", 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--engine", "ray"]) == 2
    assert "pip install 'pocketface[cluster]'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--cluster", "auto"), ("--gpus", "1"), ("--engine", "ray", "--gpus", "-1")])
def test_a_clusters_words_need_a_cluster(tmp_path: Path, words: tuple[str, ...]) -> None:
    fill(tmp_path / "in", 1)
    assert cli.main(["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *words]) == 2
    assert not (tmp_path / "out").exists()


@needs_ray
def test_from_one_far_place_to_another_and_nothing_twice(tmp_path: Path) -> None:
    content, bucket, output = fill(tmp_path / "in", 12), (tmp_path / "in").as_uri(), tmp_path / "out"
    words = ("--records", str(tmp_path / "records"))
    with command(bucket, output.as_uri(), "0", *words) as process:
        said = process.communicate()
    assert process.returncode == 1, said  # bad.jpg and worse.jpg
    assert written(output) == restored(content)
    assert {record.name for record in records_of(tmp_path / "records")} == set(content)
    assert sorted(path.suffix for path in output.rglob("*") if path.is_file()) == [".jpg"] * 12
    (tmp_path / "in" / "new.jpg").write_bytes(b"7")
    with command(bucket, output.as_uri(), "0", *words) as process:
        assert "15 settled before" in process.communicate()[0]
    assert (output / "new.jpg").read_bytes() == b"restored 7"
