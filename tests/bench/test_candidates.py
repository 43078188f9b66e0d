"""A bundle is judged only if it is whole and made from the student it is judged against."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketface.bench.candidates import bundle_candidates
from pocketface.runtime.errors import BundleError
from pocketface.runtime.manifest import hash_artefact

from .fakes import save_bundle


def test_the_files_of_a_bundle_become_candidates(student: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", student, student, "fp16")
    (candidate,) = bundle_candidates(bundle, hash_artefact(student))
    assert (candidate.label, candidate.precision, candidate.target) == ("onnx fp16 256", "fp16", "onnx")
    assert candidate.open().info.engine == "pytorch"


def test_a_bundle_of_another_student_is_refused(student: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", student, student)
    with pytest.raises(BundleError, match="--student"):
        bundle_candidates(bundle, "0" * 64)


def test_a_precision_without_a_tolerance_is_refused(student: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", student, student, "fp8")
    with pytest.raises(BundleError, match="fp8"):
        bundle_candidates(bundle, hash_artefact(student))


def test_a_file_changed_after_export_is_refused(student: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", student, student)
    with (bundle / "copy.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="as it was exported"):
        bundle_candidates(bundle, hash_artefact(student))
