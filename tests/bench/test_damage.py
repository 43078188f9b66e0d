"""An album of damaged files, what a batch makes of it, and whether the judge of that would notice anything wrong."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from pocketface.bench import endurance
from pocketface.bench.damage import KINDS, Made, make_album, read_album
from pocketface.bench.endurance import check_statuses, compare_runs, memory_curve
from pocketface.runtime.batch.record import FileRecord
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import InputError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(astronaut()).save(folder / "astronaut.png")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_fifo() and os.access(path, os.R_OK))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_an_album_has_every_kind_and_is_the_same_every_time(photos: Path, tmp_path: Path) -> None:
    made = make_album(photos, tmp_path / "a", count=2 * len(KINDS), damaged=0.5)
    assert len(made) == len({one.name for one in made}) == 2 * len(KINDS)
    assert {one.kind for one in made} == {"plain", *KINDS}
    assert all(os.path.lexists(tmp_path / "a" / one.name) for one in made)
    assert read_album(tmp_path / "a") == made
    make_album(photos, tmp_path / "b", count=2 * len(KINDS), damaged=0.5)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_an_album_is_not_written_over(photos: Path, tmp_path: Path) -> None:
    make_album(photos, tmp_path / "a", count=2, damaged=0)
    with pytest.raises(InputError, match="free name"):
        make_album(photos, tmp_path / "a", count=2, damaged=0)
    with pytest.raises(InputError, match="photographs"):
        make_album(tmp_path / "b", tmp_path / "c", count=2, damaged=0)


def test_a_batch_of_every_kind_is_killed_and_ends_the_same(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_album(photos, tmp_path / "album", count=len(KINDS) + 8, damaged=len(KINDS) / (len(KINDS) + 8))
    words = [str(tmp_path / "album"), "-o", str(tmp_path / "out"), "--kills", "1"]
    assert run_command(endurance, "endurance", words) == 0, capsys.readouterr()
    told = json.loads((tmp_path / "out" / "endurance.json").read_text(encoding="utf-8"))
    assert told["wrong"] == []
    assert set(told["kinds"]) == {"plain", *KINDS}
    assert sum(told["statuses"].values()) == told["files"] == len(KINDS) + 8
    assert told["exit_code"] == 1
    assert 0 < told["records_before_the_last_start"] < told["files"]


def test_whatever_is_lost_or_wrong_is_seen() -> None:
    made = [Made("a.jpg", "plain", frozenset({"restored"})), Made("b.jpg", "truncated", frozenset({"failed"}))]
    fine = [FileRecord("a.jpg", "restored"), FileRecord("b.jpg", "failed")]
    assert check_statuses(made, fine) == []
    assert check_statuses(made, fine[:1]) == ["b.jpg: no record"]
    assert len(check_statuses(made, [fine[0], FileRecord("b.jpg", "restored")])) == 1
    assert len(check_statuses(made, [*fine, FileRecord("c.jpg", "restored")])) == 1


def test_other_bytes_and_other_records_are_seen(tmp_path: Path) -> None:
    record = FileRecord("a.jpg", "restored", "a.jpg", seconds={"total": 1.0})
    for name, one in (("calm", record), ("killed", dataclasses.replace(record, seconds={"total": 2.0}))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"one")
        (tmp_path / name / "pocketface.jsonl").write_text(one.to_line(), encoding="ascii")
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert compare_runs(calm, killed) == []
    (killed / "a.jpg").write_bytes(b"two")
    assert compare_runs(calm, killed) == ["a.jpg: other bytes"]
    (killed / "a.jpg").write_bytes(b"one")
    (killed / "b.jpg").write_bytes(b"one")
    assert compare_runs(calm, killed) == ["b.jpg: only in one"]
    (killed / "b.jpg").unlink()
    line = dataclasses.replace(record, faces=[{"score": 1.0}]).to_line()
    (killed / "pocketface.jsonl").write_text(line, encoding="ascii")
    assert compare_runs(calm, killed) == ["a.jpg: other records"]


def test_a_curve_keeps_the_peaks() -> None:
    assert memory_curve([1.0] * 99 + [7.0])[-1] == 7.0
    assert memory_curve([3.0]) == [3.0]
