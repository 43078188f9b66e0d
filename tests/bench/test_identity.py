"""Identity figures on clean, degraded and restored faces, with networks whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pocketface.bench import identity
from pocketface.bench.identity import compare_networks, sets_of
from pocketface.bench.identity_report import FORMAT, hash_network, name_networks, write_figures
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import InputError, OutputError
from pocketface.runtime.images import to_faces
from pocketface.runtime.manifest import hash_artefact
from pocketface.runtime.models.dlib_resnet import find_dlib_weights
from pocketface.runtime.restorer import Faces
from pocketface.runtime.weights import shipped_path

from .fakes import FakeRestorer

# One face of a and b first: the gallery; then one probe of each.
PEOPLE = ("a", "b", "a", "b")


def pictures(side: int = 64) -> np.ndarray:
    """Two people as two patterns of noise, each twice, (4, side, side, 3) uint8."""
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (2, side, side, 3), np.uint8)
    return np.concatenate([faces, faces])


def embed(faces: Faces) -> np.ndarray:
    """The picture itself as its embedding."""
    flat = faces.reshape(len(faces), -1).astype(np.float64) - 0.5
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def save_pairs(folder: Path) -> Path:
    """A folder of crops: everyone of `PEOPLE` is held out for validation."""
    folder.mkdir()
    lines = ["file,identity,split,group,licence,native_px"]
    for index, (person, image) in enumerate(zip(PEOPLE, pictures(), strict=True)):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        lines.append(f"{index}.png,{person},validation,noise,CC0-1.0,300")
    (folder / "crops.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def call(*words: object) -> int:
    return run_command(identity, "identity", [str(word) for word in words])


def test_what_was_lost_is_measured_and_what_was_restored_too() -> None:
    faces, given = to_faces(list(pictures())), []

    def remember(batch: Faces) -> Faces:
        given.append(batch)
        return faces[2:]  # the clean probes

    steps: list[str] = []
    restorers = {"perfect": FakeRestorer(remember)}
    rows = compare_networks({"pixels": embed}, restorers, pictures(), PEOPLE, ["severe"], steps.append)
    assert [row.probes for row in rows] == ["clean", "severe", "severe, restored by perfect"]
    clean, degraded, restored = (row.figures for row in rows)
    assert clean.genuine_median == pytest.approx(1)
    # Noise is averaged away when it is blurred and shrunk.
    assert degraded.genuine_median < 0.5
    assert restored == clean
    assert rows[0].angles.genuine[0] == 2
    assert sum(rows[1].angles.impostor) == 2
    assert len(given) == 1
    assert given[0].std() < 0.5 * faces.std()  # the restorer was given the degraded probes
    assert len(steps) == sets_of(levels=1, restorers=1) == 3


def test_every_network_sees_the_same_probes_and_has_its_rows_together() -> None:
    seen: dict[str, list[np.ndarray]] = {"one": [], "two": []}

    def spy(name: str, faces: Faces) -> np.ndarray:
        seen[name].append(faces)
        return embed(faces)

    networks = {"one": lambda faces: spy("one", faces), "two": lambda faces: spy("two", faces)}
    rows = compare_networks(networks, {}, pictures(), PEOPLE, ["mild", "severe"])
    assert [row.network for row in rows] == ["one"] * 3 + ["two"] * 3
    assert all(np.array_equal(one, two) for one, two in zip(seen["one"], seen["two"], strict=True))


def test_people_with_one_face_cannot_be_verified() -> None:
    with pytest.raises(InputError, match="two faces"):
        compare_networks({"pixels": embed}, {}, pictures()[:2], ["a", "b"], [])


def test_the_command_prints_and_writes_the_same_rows(
    tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, figures, chart = save_pairs(tmp_path / "crops"), tmp_path / "out" / "id.json", tmp_path / "id.svg"
    words = ("--crops", crops, "--network", "identity", "dlib", "--restorer", student, "--levels", "mild")
    assert call(*words, "-o", figures, "--chart", chart) == 0
    printed = capsys.readouterr().out.splitlines()
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert content["format"] == FORMAT
    assert (content["faces"], content["people"]) == (4, 2)
    assert content["sha256"]["identity"] == hash_artefact(shipped_path("identity"))
    assert content["sha256"]["dlib"] == hash_artefact(find_dlib_weights())
    assert content["sha256"][student.name] == hash_artefact(student)
    wanted = [("clean", None), ("mild", None), ("mild", student.name)]
    assert [(row["level"], row["restorer"]) for row in content["rows"]] == wanted * 2
    assert len(printed) == 2 + len(content["rows"])
    for line, row in zip(printed[2:], content["rows"], strict=True):
        assert line.startswith(f"| {row['network']} | {row['level']}")
        assert f"| {row['auc']:.4f} |" in line
    assert chart.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--group", "nobody"), "'nobody'"),
        (("--network", "identity", "identity"), "'identity' twice"),
        (("--network", "net.bin"), "'net.bin'"),
        (("--restorer", "absent.safetensors"), "absent.safetensors"),
        (("--output", "."), "the folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert call("--crops", save_pairs(tmp_path / "crops"), *words) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_files_are_named_by_their_last_part() -> None:
    names = {"identity": "identity", "net.pth": "far/away/net.pth", "student-base": "student-base"}
    assert name_networks(list(names.values())) == names
    assert len(hash_network("identity")) == 64


def test_figures_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_figures(tmp_path / "figures.json", {}, [{"auc": float("nan")}])
    with pytest.raises(OutputError):
        write_figures(tmp_path, {}, [])
    assert list(tmp_path.iterdir()) == []
