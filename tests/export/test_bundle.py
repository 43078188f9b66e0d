from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pocketface.export import bundle as bundle_module
from pocketface.export import command
from pocketface.export.bundle import Plan, build_bundle
from pocketface.export.golden import aligned_astronaut, golden_faces, read_golden
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import BundleError, CheckpointError, ExportError, InputError, OutputError
from pocketface.runtime.faces.align import FFHQ
from pocketface.runtime.manifest import FILE_NAME, hash_artefact, read_manifest
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer
from pocketface.runtime.parity import TOLERANCES, Tolerance


def _onnx(checkpoint: Path) -> Plan:
    return Plan(checkpoint, ("onnx",), ("fp32",), (32,))


def test_holds_every_file_asked_for_and_proves_it(tiny_bundle: Path) -> None:
    manifest = read_manifest(tiny_bundle)
    files = {(artefact.target, artefact.precision): artefact for artefact in manifest.artefacts}
    assert set(files) == {(t, p) for t in ("onnx", "tflite") for p in ("fp32", "int8")}
    for (_, precision), artefact in files.items():
        assert artefact.file.sha256 == hash_artefact(tiny_bundle / artefact.file.path)
        assert artefact.parity.min_psnr_db >= TOLERANCES[precision].min_psnr_db
        assert artefact.parity.faces == 10
    assert files["onnx", "fp32"].weights_sha256 == files["tflite", "fp32"].weights_sha256
    assert files["onnx", "fp32"].file.path == "tiny_32_fp32.onnx"


def test_says_where_it_comes_from(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    manifest = read_manifest(tiny_bundle)
    assert manifest.source.sha256 == hash_artefact(tiny_checkpoint)
    assert manifest.source.architecture == "student"
    assert manifest.source.config["channels"] == [8, 16]
    assert manifest.source.training["data"] == "none"
    assert manifest.source.licence == "CC0-1.0"
    assert {"torch", "onnx", "pocketface"} <= set(manifest.tools)
    text = (tiny_bundle / "README.md").read_text()
    assert all(artefact.file.path in text for artefact in manifest.artefacts)
    assert "CC0-1.0" in text


def test_golden_vectors_are_what_the_student_makes_of_real_faces(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    (golden,) = read_manifest(tiny_bundle).golden
    given, restored = read_golden(tiny_bundle, golden)
    np.testing.assert_array_equal(given, golden_faces(32)[0])
    np.testing.assert_array_equal(restored, open_restorer(tiny_checkpoint, device="cpu")(given))
    assert np.abs(restored - given).max() > 0.05  # a student that changes nothing would prove nothing


def test_golden_faces_are_ten_different_pictures_of_one_face() -> None:
    faces, names = golden_faces(64)
    assert names == ("mild", "medium", "severe", "dark", "bright", "grey", "sepia", "flat", "occluded", "turned")
    by_name = dict(zip(names, faces, strict=True))
    assert by_name["dark"].mean() < by_name["medium"].mean() < by_name["bright"].mean()
    assert np.ptp(by_name["grey"], axis=0).max() == 0
    assert np.ptp(by_name["flat"], axis=(1, 2)).max() == 0
    assert (by_name["sepia"][0] >= by_name["sepia"][2]).all()
    assert len({face.tobytes() for face in faces}) == 10
    np.testing.assert_allclose(faces * 255, np.rint(faces * 255), atol=1e-4, rtol=0)  # float32 of n / 255


def test_the_astronauts_pupils_lie_where_the_template_wants_eyes() -> None:
    grey = aligned_astronaut(256).astype(np.float64).mean(axis=2)
    for x, y in FFHQ.scaled(256)[:2]:
        window = grey[round(y) - 8 : round(y) + 9, round(x) - 16 : round(x) + 17]
        rows, columns = np.nonzero(window <= np.quantile(window, 0.04))
        # An iris is about ten pixels wide here, and the template is an average face.
        assert np.hypot(rows.mean() - 8, columns.mean() - 16) < 5


def test_a_failed_export_leaves_the_old_bundle_untouched(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    before = hash_artefact(output)
    monkeypatch.setitem(bundle_module.TOLERANCES, "fp32", Tolerance(190.0, 0.0, 0.0, "nothing passes"))
    with pytest.raises(ExportError, match="nothing passes"):
        build_bundle(_onnx(tiny_checkpoint), output)
    assert hash_artefact(output) == before
    assert list(tmp_path.iterdir()) == [output]


def test_wrong_weights_in_a_file_stop_the_export(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "differences", lambda *_: ["stem.weight: 1 of 384 values differ"])
    with pytest.raises(ExportError, match=r"stem\.weight"):
        build_bundle(_onnx(tiny_checkpoint), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_an_earlier_bundle_is_replaced_and_anything_else_is_not(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    build_bundle(_onnx(tiny_checkpoint), output)
    (output / "left over").write_text("")
    build_bundle(_onnx(tiny_checkpoint), output)
    assert not (output / "left over").exists()
    (output / FILE_NAME).unlink()
    with pytest.raises(OutputError, match="choose another"):
        build_bundle(_onnx(tiny_checkpoint), output)
    assert (output / "README.md").is_file()


def test_ranges_are_measured_on_a_folder_of_faces(tmp_path: Path, lively: StudentRestorer) -> None:
    save_checkpoint(tmp_path / "bare.safetensors", lively, training={})
    plan = Plan(tmp_path / "bare.safetensors", ("onnx",), ("int8",), (32,))
    with pytest.raises(ExportError, match="--calibration"):
        build_bundle(plan, tmp_path / "bundle")
    crops = tmp_path / "crops"
    crops.mkdir()
    with pytest.raises(InputError, match="no images"):
        build_bundle(Plan(plan.checkpoint, ("onnx",), ("int8",), (32,), crops), tmp_path / "bundle")
    face = cv2.cvtColor(aligned_astronaut(32), cv2.COLOR_RGB2BGR)
    for name in "abc":
        cv2.imwrite(str(crops / f"{name}.png"), face)
    manifest = build_bundle(Plan(plan.checkpoint, ("onnx",), ("int8",), (32,), crops), tmp_path / "bundle")
    assert [artefact.precision for artefact in manifest.artefacts] == ["int8"]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(Path("a"), ("onyx",)), "onyx"),
        (Plan(Path("a"), ("onnx",), ("int4",)), "int4"),
        (Plan(Path("a"), ()), "at least one file"),
    ],
)
def test_an_impossible_plan_is_refused(plan: Plan, words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan.files()


@pytest.mark.parametrize("size", [0, 36, -8])
def test_a_size_that_the_network_cannot_take_is_refused(tiny_checkpoint: Path, tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError, match="divisible by 8"):
        build_bundle(Plan(tiny_checkpoint, ("onnx",), ("fp32",), (size,)), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_teacher_is_not_exported(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))), training={})
    with pytest.raises(CheckpointError, match="student"):
        build_bundle(_onnx(path), tmp_path / "bundle")


def test_a_golden_file_of_another_length_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (golden,) = read_manifest(output).golden
    (output / golden.given.path).write_bytes(b"1234")
    with pytest.raises(BundleError, match="4 bytes"):
        read_golden(output, golden)


def test_the_command_prints_one_line_a_file(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["-o", str(tmp_path / "b"), "--checkpoint", str(tiny_checkpoint), "--sizes", "32", "40"]
    code = run_command(command, "export", [*given, "--targets", "onnx", "--precisions", "fp32", "fp16"])
    assert code == 0
    printed, errors = capsys.readouterr()
    names = [line.split()[0] for line in printed.splitlines()[1:-1]]
    assert names == [f"tiny_{size}_{precision}.onnx" for size in (32, 40) for precision in ("fp32", "fp16")]
    assert errors == ""


def test_the_command_explains_a_missing_checkpoint_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(command, "export", ["-o", str(tmp_path / "b"), "--checkpoint", str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
