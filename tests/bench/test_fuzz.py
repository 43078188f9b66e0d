"""The short form of ten minutes' fuzzing, and whether the fuzzer would notice what it is there for."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pocketface.bench import fuzz, fuzz_readers
from pocketface.bench.fuzz_readers import OpenReaders, Trial, damaged_file, readers, whole_files
from pocketface.bench.mutations import mutate, mutate_json
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import PocketFaceError

QUICK = ("image", "manifest", "records")


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    return {name: whole_files(name, tmp_path_factory.mktemp("wholes")) for name in QUICK}


@pytest.mark.parametrize("reader", QUICK)
def test_whole_files_are_read(reader: str, wholes: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    for name, content in wholes[reader].items():
        (tmp_path / name).write_bytes(content)
        readers()[reader](tmp_path / name)


@pytest.mark.parametrize("reader", QUICK)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused(
    reader: str, number: int, wholes: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    name, content = damaged_file(wholes[reader], 0, Trial(reader, number))
    path = tmp_path / name
    path.write_bytes(content)
    before = set(tmp_path.parent.iterdir())
    with contextlib.suppress(PocketFaceError):  # anything else is a finding
        readers()[reader](path)
    assert set(tmp_path.parent.iterdir()) == before


def test_all_readers_stand_a_few_trials_in_processes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-o", str(tmp_path / "out"), "--trials", "15", "--seed", "1"]
    assert run_command(fuzz, "fuzz", words) == 0, capsys.readouterr()
    told = json.loads((tmp_path / "out" / "fuzz.json").read_text(encoding="utf-8"))
    assert {name: sum(count.values()) for name, count in told["counts"].items()} == dict.fromkeys(readers(), 15)


def test_damage_is_a_function_of_its_seed_and_really_damages(wholes: dict[str, dict[str, bytes]]) -> None:
    for name, whole in wholes["image"].items():
        first, again = (mutate(whole, [], np.random.default_rng(3)) for _ in range(2))
        assert first == again
        several = {mutate(whole, [], np.random.default_rng(seed)) for seed in range(20)}
        assert len(several - {whole}) > 15, name


def test_json_is_changed_but_stays_json() -> None:
    document = {"a": [1, 2, {"b": "c"}], "d": None}
    changed = [mutate_json(document, np.random.default_rng(seed)) for seed in range(50)]
    assert sum(one != document for one in changed) > 40
    assert all(json.loads(json.dumps(one)) == one for one in changed)


def test_a_reader_that_writes_elsewhere_raises_or_dies_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz, "OpenReaders", Hostile)
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2])
    words = ["-o", str(tmp_path / "out"), "--trials", "5", "--reader", "image"]
    assert run_command(fuzz, "fuzz", words) == 1
    found = [one["what"] for one in json.loads(capsys.readouterr().out)["findings"]]
    assert len(found) == 3
    assert "left its folder" in found[0]
    assert "ValueError" in found[1]
    assert "SIGABRT" in found[2]


class Hostile(OpenReaders):
    """Opens a reader that reads, refuses, writes elsewhere, raises and aborts in turn."""

    def __call__(self) -> object:  # pyright: ignore[reportIncompatibleMethodOverride] - a fake
        count = 0

        def read(_: Path) -> None:
            nonlocal count
            count += 1
            if count == 1:  # the whole file
                return
            match count:
                case 3:
                    (self.folder.parent / "escaped").write_bytes(b"")
                case 4:
                    raise ValueError("a mood")
                case 5:
                    os.abort()

        fuzz_readers.readers = lambda: {"image": read}
        fuzz_readers.whole_files = lambda *_: {"whole.jpg": b"\xff\xd8"}
        return super().__call__()
