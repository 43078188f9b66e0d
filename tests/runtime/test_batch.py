"""A batch as a whole, on tasks that need no network: statuses, records, resuming, and what must not happen."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage.data import astronaut

from pocketface.runtime import cli
from pocketface.runtime.batch import command
from pocketface.runtime.batch.journal import RECORDS, Journal, records_of
from pocketface.runtime.batch.record import FileRecord
from pocketface.runtime.errors import OutputError

from .batch_fakes import Copying

ROOT = Path(__file__).resolve().parents[2]
CONTENT = {
    "a.jpg": b"one", "sub/b.png": b"two", "sub/c.jpg": b"landscape", "d.jpg": b"damaged", "e.jpg": b"segfault",
    "f.txt": b"a letter",
}  # fmt: skip


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers copy instead of restoring."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(command, "Restoration", lambda *_: Copying())


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    fill(folder, CONTENT)
    return folder


def fill(folder: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def restore(folder: Path, output: Path, *words: str) -> int:
    return cli.main(["restore", str(folder), "-o", str(output), "--workers", "1", *words])


def records(output: Path) -> dict[str, FileRecord]:
    return {record.name: record for record in records_of(output)}


def written(output: Path) -> dict[str, bytes]:
    """All photographs of an output folder; fails on anything else that a batch might have left."""
    files = [path for path in output.rglob("*") if path.is_file()]
    ours = {"pocketface.json", "pocketface.jsonl", ".pocketface/lock", ".pocketface/logs/worker-0.log"}
    found = {path.relative_to(output).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in found.items() if name not in ours}


def test_a_folder_is_restored_and_nothing_is_lost(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "out"
    before = {path: path.read_bytes() for path in album.rglob("*") if path.is_file()}
    assert restore(album, output) == 1
    said = capsys.readouterr()
    assert said.out == f"{output}: 2 restored, 1 no face, 1 failed, 1 crashed, 1 ignored\n"
    assert "d.jpg: failed: expected a photograph, got damage\n" in said.err
    assert "e.jpg: crashed" in said.err
    assert written(output) == {
        "a.jpg": b"restored one", "sub/b.png": b"restored two", "sub/c.jpg": b"restored landscape",
    }  # fmt: skip
    assert {path: path.read_bytes() for path in before} == before
    found = records(output)
    assert set(found) == set(CONTENT)
    assert found["a.jpg"].faces[0]["status"] == "restored"
    assert found["a.jpg"].input["bytes"] == 3
    assert "SIGSEGV" in found["e.jpg"].error
    told = json.loads((output / "pocketface.json").read_text(encoding="utf-8"))
    assert told["summary"]["files"] == {"restored": 2, "no face": 1, "failed": 1, "crashed": 1, "ignored": 1}
    assert told["summary"]["faces_in_this_run"] == {"restored": 2}
    assert len(told["identity"]["model"]) == 64


def test_all_well_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "in", {"a.jpg": b"one"})
    assert restore(tmp_path / "in", tmp_path / "out") == 0
    assert capsys.readouterr().err == ""


def test_a_second_run_does_nothing_again(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    restore(album, output)
    stamps = {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")}
    lines = (output / "pocketface.jsonl").read_bytes()
    capsys.readouterr()
    assert restore(album, output) == 1  # what failed still has
    assert capsys.readouterr().out.endswith("; 6 settled before\n")
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")} == stamps
    assert (output / "pocketface.jsonl").read_bytes() == lines


def test_what_changed_or_went_missing_is_restored_again(album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    restore(album, output)
    fill(album, {"a.jpg": b"changed", "new.jpg": b"new"})
    (output / "sub" / "b.png").unlink()
    (output / "sub" / "c.jpg").write_bytes(b"cut sh")
    restore(album, output)
    assert written(output) == {
        "a.jpg": b"restored changed", "sub/b.png": b"restored two", "sub/c.jpg": b"restored landscape",
        "new.jpg": b"restored new",
    }  # fmt: skip
    assert len(records(output)) == 7


def test_failures_are_tried_again_when_asked_or_when_mended(album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    restore(album, output)
    lines = len((output / "pocketface.jsonl").read_text(encoding="ascii").splitlines())
    assert restore(album, output, "--retry") == 1
    assert len((output / "pocketface.jsonl").read_text(encoding="ascii").splitlines()) == lines + 2
    fill(album, {"d.jpg": b"mended", "e.jpg": b"whole"})
    assert restore(album, output) == 0
    assert records(output)["d.jpg"].status == "restored"


@pytest.mark.parametrize("words", [("--strength", "0.5"), ("--suffix", ".png"), ("--device", "cpu")])
def test_other_options_are_not_mixed_into_old_outputs(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    output = tmp_path / "out"
    restore(album, output)
    before = written(output)
    capsys.readouterr()
    assert restore(album, output, *words) == 2
    said = capsys.readouterr().err
    assert "--start-over" in said
    assert said.count("\n") == 1
    assert written(output) == before
    assert restore(album, output, *words, "--start-over") == 1
    assert restore(album, output, *words) == 1


def test_another_model_is_noticed(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"first")
    restore(album, tmp_path / "out", "--model", str(model))
    model.write_bytes(b"second")
    assert restore(album, tmp_path / "out", "--model", str(model)) == 2
    assert "model: " in capsys.readouterr().err


def test_a_folder_with_someone_elses_files_is_not_written_to(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    fill(output, {"a.jpg": b"precious"})
    assert restore(album, output) == 2
    assert "--start-over" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["a.jpg"]
    assert (output / "a.jpg").read_bytes() == b"precious"


def test_nothing_is_written_through_a_link_out_of_the_folder(album: Path, tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    output.mkdir()
    (output / "sub").symlink_to(elsewhere)
    assert restore(album, output, "--start-over") == 1
    assert list(elsewhere.iterdir()) == []
    assert records(output)["sub/b.png"].status == "failed"
    assert "remove the link" in records(output)["sub/b.png"].error


def test_a_link_in_an_outputs_place_is_replaced_and_not_followed(album: Path, tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere.jpg"
    elsewhere.write_bytes(b"precious")
    output.mkdir()
    (output / "a.jpg").symlink_to(elsewhere)
    restore(album, output, "--start-over")
    assert elsewhere.read_bytes() == b"precious"
    assert (output / "a.jpg").read_bytes() == b"restored one"


def test_a_line_cut_short_is_forgotten(album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    restore(album, output)
    journal = output / "pocketface.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert restore(album, output) == 1
    assert set(records(output)) == set(CONTENT)


def test_damaged_records_are_an_error(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    restore(album, output)
    (output / "pocketface.jsonl").write_bytes(b"nonsense\n")
    capsys.readouterr()
    assert restore(album, output) == 2
    assert "start over" in capsys.readouterr().err


def test_two_batches_do_not_share_a_folder(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    output = tmp_path / "out"
    restore(album, output)
    with (output / ".pocketface" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert restore(album, output) == 2
    assert "no other batch" in capsys.readouterr().err


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \n.jpg")
    fill(tmp_path / "in", {name: b"one", "übung/ß.jpg": b"two"})
    assert restore(tmp_path / "in", tmp_path / "out") == 0
    assert set(written(tmp_path / "out")) == {name, "übung/ß.jpg"}
    assert restore(tmp_path / "in", tmp_path / "out") == 0
    assert set(records(tmp_path / "out")) == {name, "übung/ß.jpg"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "0"), "--workers"),
        (("--timeout", "0"), "--timeout"),
        (("--timeout", "nan"), "--timeout"),
        (("--suffix", ".bmp"), "suffix"),
        (("--json", "x.json"), "--json"),
        (("--model", "none.tflite"), "model"),
        (("--detector", "none.onnx"), "nothing at"),
        (("--upscale", "2", "--upscaler", "none.onnx"), "nothing at"),
    ],
)
def test_impossible_wishes_leave_nothing_behind(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert restore(album, tmp_path / "out", *words) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_as_output_of_a_folder_is_refused(album: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"precious")
    assert restore(album, tmp_path / "out") == 2
    assert (tmp_path / "out").read_bytes() == b"precious"


# A shell starts background jobs with SIGINT ignored, which children inherit; the test means a terminal's.
RUN = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
from pocketface.runtime import cli
from pocketface.runtime.batch import command
from tests.runtime.batch_fakes import Copying
command.Restoration = lambda *_: Copying(0.05)
sys.exit(cli.main(["restore", sys.argv[2], "-o", sys.argv[3], "--workers", "2", "--quiet"]))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_batch_that_is_ended_goes_on_where_it_was(tmp_path: Path, end: signal.Signals) -> None:
    content = {f"{number:03d}.jpg": b"%d" % number for number in range(40)} | {"sub/z.jpg": b"damaged"}
    fill(tmp_path / "in", content)
    output = tmp_path / "out"
    words = [sys.executable, "-c", RUN, str(ROOT), str(tmp_path / "in"), str(output)]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as first:  # noqa: S603
        deadline = time.monotonic() + 60
        while len(list(output.glob("*.jpg"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        first.send_signal(end)
    journal = (output / "pocketface.jsonl").read_bytes()
    done = {FileRecord.from_line(line).name for line in journal.decode().splitlines(keepends=True) if line[-1] == "\n"}
    assert 4 <= len(done) < 41
    stamps = {name: (output / name).stat().st_mtime_ns for name in done}
    assert subprocess.run(words, check=False, capture_output=True).returncode == 1  # noqa: S603 - sub/z.jpg
    assert {name: (output / name).stat().st_mtime_ns for name in done} == stamps
    photos = {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*.jpg")}
    assert photos == {name: b"restored " + data for name, data in content.items() if data != b"damaged"}
    assert set(records(output)) == set(content)
    assert not (output / ".pocketface" / "work").exists()


@pytest.mark.usefixtures("real_restoration")
def test_real_photographs_through_the_shipped_networks(tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "astronaut.jpg", quality=90)
    Image.new("RGB", (80, 60), (10, 200, 30)).save(folder / "blank.webp")
    (folder / "poem.png").write_bytes(b"Roses are red")
    assert restore(folder, output) == 1
    found = records(output)
    assert {name: record.status for name, record in found.items()} == {
        "astronaut.jpg": "restored", "blank.webp": "no face", "poem.png": "failed",
    }  # fmt: skip
    assert (output / "blank.webp").read_bytes() == (folder / "blank.webp").read_bytes()
    portrait = found["astronaut.jpg"]
    assert (portrait.width, portrait.height, len(portrait.faces)) == (512, 512, 1)
    assert portrait.faces[0]["cosine"] > 0.75
    assert len(portrait.input["sha256"]) == len(portrait.model) == len(portrait.options) == 64
    assert {"decode", "detect", "align", "restore", "paste", "encode", "total"} <= set(portrait.seconds)
    assert portrait.rss_mib > 20
    single = tmp_path / "single.jpg"
    assert cli.main(["restore", str(folder / "astronaut.jpg"), "-o", str(single), "--threads", "1"]) == 0
    assert single.read_bytes() == (output / "astronaut.jpg").read_bytes()


@pytest.fixture
def real_restoration(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - runs after it
    from pocketface.runtime.batch.work import Restoration

    monkeypatch.setattr(command, "Restoration", Restoration)


def test_two_inputs_for_one_output_leave_no_folder_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = tmp_path / "album", tmp_path / "out"
    fill(folder, {"a.jpg": b"one", "a.png": b"two"})
    assert restore(folder, output, "--suffix", ".png") == 2
    assert "one input for each output" in capsys.readouterr().err
    assert not output.exists()
    assert restore(folder, output) == 0


class _FullDisk(io.FileIO):
    """Takes ten bytes of what it is given, as a disk does that has ten left."""

    def write(self, data: Any, /) -> int:
        return super().write(memoryview(data)[:10])


def test_a_record_that_does_not_fit_ends_the_batch_in_words_and_the_next_run_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "out"

    def fill_disk() -> None:
        with Journal(output, {"a": 1}) as journal:
            journal.add(FileRecord("a.jpg", "restored"))
            journal._stream.close()
            journal._stream = _FullDisk(output / RECORDS, "ab")
            journal.add(FileRecord("b.jpg", "restored"))

    with pytest.raises(OutputError, match="room for the records"):
        fill_disk()
    with Journal(output, {"a": 1}) as journal:
        assert set(journal.known) == {"a.jpg"}
    assert [record.name for record in records_of(output)] == ["a.jpg"]


@pytest.mark.parametrize(("option", "value"), [("--threads", "0"), ("--threads", "99999"), ("--workers", "9999999")])
def test_numbers_that_no_machine_has_are_refused(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert cli.main(["restore", str(album), "-o", str(tmp_path / "out"), option, value]) == 2
    assert f"{option} of at least 1" in capsys.readouterr().err


def test_a_photographs_name_is_no_folder_for_several(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(album / "a.jpg"), str(album / "d.jpg")]
    assert cli.main(["restore", *words, "-o", str(tmp_path / "out.jpg")]) == 2
    assert "name a folder" in capsys.readouterr().err
    assert not (tmp_path / "out.jpg").exists()
