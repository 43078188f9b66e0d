from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocketface.runtime.errors import BundleError
from pocketface.runtime.manifest import (
    FILE_NAME,
    FORMAT,
    Artefact,
    FileEntry,
    Golden,
    Manifest,
    ParityFigures,
    Source,
    TensorSpec,
    describe_file,
    hash_artefact,
    measure_artefact,
    read_manifest,
    write_manifest,
)
from pocketface.runtime.options import LOOKS

IMAGE = TensorSpec("image", ("N", 3, 32, 32), "float32", "NCHW", 0.0, 1.0)
ENTRY = FileEntry("a.onnx", 3, "ab")
MANIFEST = Manifest(
    FORMAT,
    "student-base",
    "2026-11-23T00:00:00+00:00",
    Source("cd", "student", {"channels": [8, 16]}, {"data": {"faces": 3}}, "CC-BY-4.0"),
    {"torch": "2.13.0"},
    (
        Artefact(
            ENTRY, "onnx", "fp32", 32, "ef", (IMAGE,), (IMAGE,),
            ParityFigures("onnx_runtime 1.32", 8, "mild", 120.0, 125.0, 90.0, 1e-6),
        ),
    ),
    (Golden(32, ("mild",), FileEntry("golden/a.bin", 4, "aa"), FileEntry("golden/b.bin", 4, "bb")),),
    LOOKS,
)  # fmt: skip


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def _drop(values: dict[str, Any]) -> None:
    del values["artefacts"][0]["parity"]["max_abs"]


def _invent(values: dict[str, Any]) -> None:
    values["golden"][0]["licence"] = "none"


def _mistype(values: dict[str, Any]) -> None:
    values["artefacts"][0]["size"] = "32"


def _pass_a_truth_for_a_number(values: dict[str, Any]) -> None:
    values["artefacts"][0]["file"]["bytes"] = True


def _date(values: dict[str, Any]) -> None:
    values["format"] = "pocketface-bundle-0"


def _escape(values: dict[str, Any]) -> None:
    values["artefacts"][0]["file"]["path"] = "../a.onnx"


def _leave(values: dict[str, Any]) -> None:
    values["golden"][0]["given"]["path"] = "/etc/passwd"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_drop, "missing max_abs"),
        (_invent, "unknown licence"),
        (_mistype, r"manifest.artefacts\[0\].size of type int, got str"),
        (_pass_a_truth_for_a_number, "bytes of type int, got bool"),
        (_date, "pocketface-bundle-0"),
        (_escape, "inside the bundle"),
        (_leave, "inside the bundle"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(MANIFEST)))
    spoil(values)
    (tmp_path / FILE_NAME).write_text(json.dumps(values))
    with pytest.raises(BundleError, match=words):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": NaN}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(BundleError):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="export one first"):
        read_manifest(tmp_path)


def test_a_figure_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    parity = dataclasses.replace(MANIFEST.artefacts[0].parity, min_psnr_db=float("nan"))
    broken = dataclasses.replace(MANIFEST, artefacts=(dataclasses.replace(MANIFEST.artefacts[0], parity=parity),))
    with pytest.raises(BundleError, match="finite"):
        write_manifest(tmp_path, broken)
    assert not list(tmp_path.iterdir())


def test_a_folder_hashes_by_names_and_contents(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> Path:
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return tmp_path / name

    same = [make("one", {"b": "2", "a/c": "13"}), make("two", {"a/c": "13", "b": "2"})]
    others = [
        make("renamed", {"b": "2", "a/d": "13"}),
        make("edited", {"b": "2", "a/c": "14"}),
        make("moved", {"b": "213", "a/c": ""}),
    ]
    assert len({hash_artefact(folder) for folder in same}) == 1
    assert len({hash_artefact(folder) for folder in [same[0], *others]}) == 4
    assert measure_artefact(same[0]) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gone\.onnx"):
        describe_file(tmp_path, "gone.onnx")
