"""A bundle is judged only if it is whole and made from the student it is judged against."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketface.bench.candidates import bundle_candidates, named_candidates, weights_of
from pocketface.runtime.errors import BundleError, InputError
from pocketface.runtime.manifest import hash_artefact

from .fakes import save_bundle


def test_the_files_of_a_bundle_become_candidates(student: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", student, student, "fp16")
    (candidate,) = bundle_candidates(bundle, hash_artefact(student))
    assert (candidate.label, candidate.precision, candidate.target) == ("onnx fp16 256", "fp16", "onnx")
    assert candidate.open().info.engine == "pytorch"


def test_a_user_names_restorers_by_label_and_file(student: Path) -> None:
    first, second = named_candidates([f"detail={student}", "fidelity=student-base"], ("input",), "cpu")
    assert (first.label, first.path, first.device) == ("detail", str(student), "cpu")
    assert (second.label, second.path) == ("fidelity", "student-base")
    assert weights_of([first]) == {"detail weights": f"student.safetensors, sha256 {hash_artefact(student)}"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["student-base"], "LABEL=FILE"),
        (["=student-base"], "LABEL=FILE"),
        (["detail="], "LABEL=FILE"),
        (["input=student-base"], "a label of its own"),
        (["a=student-base", "a=teacher"], "a label of its own"),
        (["a=none.onnx"], "nothing at none.onnx"),
    ],
)
def test_names_that_cannot_be_used_are_refused(words: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        named_candidates(words, ("input",))


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
