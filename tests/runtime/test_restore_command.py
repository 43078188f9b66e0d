"""The command as a user meets it; engine and detector are fakes but where the shipped ones are asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from pocketface.runtime import cli, restore_command
from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.images import read_photo
from pocketface.runtime.weights import DEFAULT_RESTORER, shipped_path

from .restore_fakes import Command, command, portrait

__all__ = ["command", "portrait"]  # fixtures


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command said on stderr, which must be one line and no traceback."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


def test_a_portrait_is_restored_and_said_so(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, record = tmp_path / "new folder" / "out.png", tmp_path / "record.json"
    assert command(portrait, "-o", output, "--json", record, "--strength", "0.5") == 0
    assert capsys.readouterr().out == f"{output}: 1 face restored\n"
    change = read_photo(output).rgb.astype(int) - read_photo(portrait).rgb
    assert change[120, 223].mean() == pytest.approx(0.5 * 25.5, abs=1)
    assert not change[300:].any()
    told = json.loads(record.read_text(encoding="utf-8"))
    assert told["model"] == {"name": "brighter", "engine": "numpy", "device": "cpu", "sha256": "0123"}
    assert told["options"]["strength"] == 0.5
    assert len(told["faces"]) == 1


@pytest.mark.parametrize(("suffix", "same"), [(".jpg", True), (".jpeg", True), (".png", False)])
def test_without_a_face_the_photograph_passes_through(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, same: bool
) -> None:
    blank, output = tmp_path / "blank.jpg", tmp_path / f"out{suffix}"
    Image.new("RGB", (64, 48), (10, 200, 30)).save(blank)
    assert command(blank, "-o", output) == 0
    assert "no face found" in capsys.readouterr().out
    np.testing.assert_array_equal(read_photo(output).rgb, read_photo(blank).rgb)
    assert (output.read_bytes() == blank.read_bytes()) == same


def bad_inputs() -> dict[str, bytes]:
    whole = cv2.imencode(".jpg", astronaut())[1].tobytes()
    speck = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    return {"poem": b"Roses are red", "empty": b"", "truncated": whole[: len(whole) // 2], "speck": speck}


@pytest.mark.parametrize("kind", bad_inputs())
def test_bad_input_is_one_line_and_nothing_is_lost(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    (tmp_path / "in.jpg").write_bytes(bad_inputs()[kind])
    (tmp_path / "out.png").write_bytes(b"precious")
    assert command(tmp_path / "in.jpg", "-o", tmp_path / "out.png") == 2
    assert "in.jpg" in only_line(capsys)
    assert (tmp_path / "out.png").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jpg", "out.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "out.bmp"), "suffix"),
        (("-o", "out"), "suffix"),
        (("-o", "portrait.jpg"), "another output"),
        (("-o", "./sub/../portrait.jpg"), "another output"),
        (("-o", "out.png", "--json", "out.png"), "another output"),
        (("-o", "out.png", "--strength", "2"), "strength"),
        (("-o", "out.png", "--strength", "nan"), "strength"),
        (("-o", "out.png", "--threads", "0"), "--threads"),
        (("-o", "sub"), "suffix"),
        (("-o", "out.png", "--reference", "out.png"), "another output"),
        (("-o", "out.png", "--choose", "reference"), "reference"),
        (("-o", "out.png", "--upscaler", "x.pth"), "upscale"),
        (("-o", "out.png", "--guard", "7"), "guard"),
        (("-o", "sub.png"), "folder"),
    ],
)
def test_impossible_wishes_are_refused_before_any_work(
    portrait: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(restore_command, "read_photo", lambda _: pytest.fail("read although it cannot end well"))
    monkeypatch.chdir(portrait.parent)
    before = portrait.read_bytes()
    Path("sub").mkdir()
    Path("sub.png").mkdir()
    assert cli.main(["restore", "portrait.jpg", *words]) == 2
    assert said in only_line(capsys)
    assert portrait.read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_line(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    assert command(portrait, "-o", tmp_path / "file" / "out.png") == 2
    assert "writable folder" in only_line(capsys)
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_transparency_and_sixteen_bits_are_not_dropped_behind_the_users_back(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / "deep.png"
    cv2.imwrite(str(deep), astronaut().astype(np.uint16) * 257)
    assert command(deep, "-o", tmp_path / "out.jpg") == 2
    assert "16 bits" in only_line(capsys)
    assert command(deep, "-o", tmp_path / "out.tiff") == 0
    assert read_photo(tmp_path / "out.tiff").rgb.dtype == np.uint16


def test_a_checkpoint_of_another_kind_is_one_line(
    command: Command,
    portrait: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CheckpointError("a student", "tensors of another shape", "export it again")

    monkeypatch.setattr(restore_command, "open_restorer", refuse)
    assert command(portrait, "-o", tmp_path / "out.png") == 2
    assert "another shape" in only_line(capsys)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "model", ["identity", "nonsense.onnx", "nonsense.tflite", "nonsense.safetensors", "none.onnx", "x.pt"]
)
def test_what_is_no_restorer_is_one_line(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    name = model
    if model.startswith("nonsense"):
        name = str(tmp_path / model)
        Path(name).write_bytes(b"nonsense" * 100)
    assert cli.main(["restore", str(portrait), "-o", str(tmp_path / "out.png"), "--model", name]) == 2
    assert model in only_line(capsys)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "words",
    [("--reference", "nobody.jpg"), ("--upscale", "2", "--upscaler", "nobody.pth"), ("--colouriser", "nobody.onnx")],
)
def test_a_companion_that_is_missing_is_one_line(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert command(portrait, "-o", tmp_path / "out.png", *words) == 2
    assert "nobody" in only_line(capsys)
    assert not (tmp_path / "out.png").exists()


def test_who_asks_for_anonymity_where_no_face_is_found_is_told_and_gets_no_metadata(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[315] = "Ann"
    exif.get_ifd(0x8769)[0x927C] = b"a preview"
    Image.new("RGB", (64, 48), (10, 200, 30)).save(tmp_path / "in.jpg", exif=exif)
    assert command(tmp_path / "in.jpg", "-o", tmp_path / "out.jpg", "--anonymise", "all") == 0
    assert "NOBODY" in capsys.readouterr().out
    written = (tmp_path / "out.jpg").read_bytes()
    assert b"Ann" in written
    assert b"a preview" not in written


def test_the_shipped_default_restores_without_pytorch(portrait: Path, tmp_path: Path) -> None:
    if not shipped_path(DEFAULT_RESTORER).is_file():
        pytest.skip(f"{DEFAULT_RESTORER} has not been trained and exported yet")
    output = tmp_path / "out.png"
    words = [str(portrait), "-o", str(output), "--threads", "1"]
    code = (
        "import sys\n"
        "for name in ('torch', 'onnxruntime', 'matplotlib'): sys.modules[name] = None\n"
        f"from pocketface.runtime.cli import main\nsys.exit(main(['restore', *{words!r}]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{output}: 1 face restored\n"
    change = np.abs(read_photo(output).rgb.astype(int) - read_photo(portrait).rgb)
    assert change[60:180, 180:270].mean() > 0.2
    assert not change[300:].any()


def test_the_help_is_worth_reading(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["restore", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("--model", "--strength", DEFAULT_RESTORER, "Exit code", "without a face"))
