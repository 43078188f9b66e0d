"""Planted faults: each must be found, and said in words."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pocketface.export import verify_command
from pocketface.export.bundle import Plan, build_bundle
from pocketface.export.deploy_graph import build_deploy_graph
from pocketface.export.from_onnx import read_onnx
from pocketface.export.gate_faces import gate_faces, most_turned
from pocketface.export.golden import aligned_astronaut, golden_faces
from pocketface.export.stored_weights import digest
from pocketface.export.to_coreml import write_coreml
from pocketface.export.to_onnx import write_onnx
from pocketface.export.verify import FileVerdict, Gate, Verdict, verify_bundle
from pocketface.runtime.backends import ENGINES, open_restorer
from pocketface.runtime.backends.pytorch import PytorchRestorer
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import BundleError, ExportError, InputError
from pocketface.runtime.faces.detect import Detection
from pocketface.runtime.manifest import FILE_NAME, Manifest, describe_file, read_manifest, write_manifest
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.parity import TOLERANCES, compare
from pocketface.runtime.restorer import Faces

ONNX, TFLITE = "tiny_32_fp32.onnx", "tiny_32_int8.tflite"


@pytest.fixture
def copied(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def _problems(verdict: Verdict) -> dict[str, tuple[str, ...]]:
    return {file.path: file.problems for file in verdict.files if file.problems}


def _amend(bundle: Path, change: Callable[[Manifest], Manifest]) -> None:
    write_manifest(bundle, change(read_manifest(bundle)))


def _fix_up(bundle: Path, path: str) -> None:
    """Make the manifest agree with a changed file, as whoever planted the change would."""

    def change(manifest: Manifest) -> Manifest:
        fixed = [
            dataclasses.replace(
                artefact,
                file=describe_file(bundle, path),
                weights_sha256=digest(read_onnx(bundle / path).weights),
            )
            if artefact.file.path == path
            else artefact
            for artefact in manifest.artefacts
        ]
        return dataclasses.replace(manifest, artefacts=tuple(fixed))

    _amend(bundle, change)


def test_a_whole_bundle_is_proven(copied: Path, tiny_checkpoint: Path) -> None:
    verdict = verify_bundle(copied, checkpoint=tiny_checkpoint)
    assert verdict.passed
    assert _problems(verdict) == {}
    engines = {file.engine for file in verdict.files}
    assert engines == {"onnx_runtime", "litert", ""}  # golden vectors are not run
    assert tiny_checkpoint.name in verdict.compared_with
    assert min(file.min_psnr_db for file in verdict.files if file.min_psnr_db is not None) > 35


def test_without_its_checkpoint_it_is_proven_against_the_manifest(copied: Path) -> None:
    verdict = verify_bundle(copied)
    assert verdict.passed
    assert "not at hand" in verdict.compared_with


@pytest.mark.parametrize("path", [ONNX, TFLITE, "golden/given_32.bin"])
def test_one_changed_byte_is_found(copied: Path, path: str) -> None:
    data = bytearray((copied / path).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / path).write_bytes(data)
    problems = _problems(verify_bundle(copied))
    assert problems[path][0].startswith("changed: sha256")


def test_an_edited_hash_is_found(copied: Path) -> None:
    def change(manifest: Manifest) -> Manifest:
        first = manifest.artefacts[0]
        edited = dataclasses.replace(first, file=dataclasses.replace(first.file, sha256="0" * 64))
        return dataclasses.replace(manifest, artefacts=(edited, *manifest.artefacts[1:]))

    _amend(copied, change)
    assert list(_problems(verify_bundle(copied))) == [ONNX]


@pytest.mark.parametrize("path", [ONNX, TFLITE])
def test_a_truncated_file_is_found(copied: Path, path: str) -> None:
    size = (copied / path).stat().st_size
    (copied / path).write_bytes((copied / path).read_bytes()[:-100])
    assert _problems(verify_bundle(copied)) == {path: (f"{size - 100} bytes instead of {size}",)}


@pytest.mark.parametrize("path", [ONNX, TFLITE])
def test_a_missing_file_is_found(copied: Path, path: str) -> None:
    (copied / path).unlink()
    assert _problems(verify_bundle(copied)) == {path: ("missing",)}


def test_missing_golden_faces_prove_nothing(copied: Path) -> None:
    (copied / "golden/restored_32.bin").unlink()
    problems = _problems(verify_bundle(copied))
    assert problems["golden/restored_32.bin"] == ("missing",)
    assert "none that are whole" in problems[ONNX][0]


def test_swapped_channels_are_found_behind_a_fixed_up_manifest(copied: Path, lively: StudentRestorer) -> None:
    graph = build_deploy_graph(lively)
    with torch.no_grad():
        stem = graph.get_submodule("stem")
        assert isinstance(stem, torch.nn.Conv2d)
        stem.weight.copy_(stem.weight.flip(1))
    write_onnx(graph, 32, "fp32", copied / ONNX)
    _fix_up(copied, ONNX)
    problems = _problems(verify_bundle(copied))
    assert list(problems) == [ONNX]
    assert any("PSNR" in words for words in problems[ONNX])


def test_one_wrong_weight_is_found_behind_a_fixed_up_manifest(copied: Path, tiny_checkpoint: Path) -> None:
    model = onnx.load(copied / ONNX)
    tensor = next(t for t in model.graph.initializer if t.name == "middle.0.conv_pwl.weight")
    changed = numpy_helper.to_array(tensor).copy()
    changed[3, 5, 0, 0] += np.float32(1e-5)
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, copied / ONNX)
    _fix_up(copied, ONNX)
    assert verify_bundle(copied).passed  # pictures and manifest agree with it ...
    problems = _problems(verify_bundle(copied, checkpoint=tiny_checkpoint))  # ... the checkpoint does not
    assert list(problems) == [ONNX]
    assert problems[ONNX][0].startswith("middle_0_conv_pwl.weight: 1 of 512 values differ, first (3, 5, 0, 0)")


def test_a_wrong_range_is_found_behind_a_fixed_up_manifest(copied: Path) -> None:
    """A file that wants grey levels where the contract says [0, 1], as careless conversions do."""
    model = onnx.load(copied / ONNX)
    for node in model.graph.node:
        node.input[:] = ["image_levels" if name == "image" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 / 255, np.float32), "step"))
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["image", "step"], ["image_levels"]))
    onnx.save(model, copied / ONNX)
    _fix_up(copied, ONNX)
    problems = _problems(verify_bundle(copied))
    assert list(problems) == [ONNX]
    assert any("PSNR" in words for words in problems[ONNX])


def test_what_overflows_half_precision_is_never_shipped(tmp_path: Path, lively: StudentRestorer) -> None:
    """The same function in float32, but its activations are 100,000 times as large: an exact trick of leaky layers."""
    quiet = copy.deepcopy(lively)
    quiet.get_parameter("encoder.0.0.bn1.bias").data.add_(2.0)
    loud = copy.deepcopy(quiet)
    block = loud.get_submodule("encoder.0.0")
    with torch.no_grad():
        for name in ("bn1.weight", "bn1.bias"):
            block.get_parameter(name).mul_(1e5)
        block.get_buffer("bn2.running_mean").mul_(1e5)
        block.get_buffer("bn2.running_var").mul_(1e10)
    faces = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loud(faces), quiet(faces), atol=1e-3)  # the epsilon of BatchNorm is not scaled
    path = tmp_path / "loud.safetensors"
    save_checkpoint(path, loud, training={})
    build_bundle(Plan(path, ("onnx",), ("fp32",), (32,)), tmp_path / "bundle")
    for target, precision in (("onnx", "fp16"), ("tflite", "fp16"), ("coreml", "int8")):
        with pytest.raises(ExportError, match="encoder_0_0_"):
            build_bundle(Plan(path, (target,), (precision,), (32,)), tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_half_precision_that_overflows_in_the_evaluator_is_found(
    tmp_path: Path, lively: StudentRestorer, golden: tuple[Faces, tuple[str, ...]]
) -> None:
    """Behind that guard stands the run itself: a package whose activations overflow gives NaN, which no gate passes."""
    graph = build_deploy_graph(lively)
    with torch.no_grad():
        for name, factor in (("encoder.0.0.conv_pw", 1e5), ("encoder.0.0.conv_dw", 1e-5)):
            layer = graph.get_submodule(name)
            assert isinstance(layer, torch.nn.Conv2d)
            layer.weight.mul_(factor)
            if factor > 1 and layer.bias is not None:
                layer.bias.add_(2.0).mul_(factor)
    path = tmp_path / "a.mlpackage"
    write_coreml(graph, 32, "fp16", path)
    report = compare(PytorchRestorer(lively, "lively"), open_restorer(path), *golden)
    assert any("NaN or infinite" in words for words in report.violations(TOLERANCES["fp16"]))


def test_figures_name_the_worst_face(copied: Path) -> None:
    verdict = verify_bundle(copied, gate=Gate(embed=lambda faces: faces.reshape(len(faces), -1)))
    (file,) = (file for file in verdict.files if file.path == TFLITE)
    assert file.worst_face in golden_faces(32)[1]
    assert file.figures["faces"] == 10
    for name, low, high in (
        ("max_abs", 0, 0.15),
        ("mean_abs", 0, 0.02),
        ("min_ssim", 0.9, 1),
        ("mean_psnr_db", 35, 99),
    ):
        assert low < (file.figures[name] or -1) <= high
    assert file.figures["max_identity_drift"] is not None
    assert "clean" in file.lint


def test_more_faces_are_run_where_the_checkpoint_is_at_hand(
    copied: Path, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for i in range(3):
        cv2.imwrite(str(crops / f"face{i}.png"), np.roll(aligned_astronaut(32), i, axis=1))
    faces, names = gate_faces(crops, 32, 3)
    assert names == ("face0, severe", "face1, medium", "face2, mild")
    verdict = verify_bundle(copied, checkpoint=tiny_checkpoint, gate=Gate(faces, names))
    assert verdict.passed
    assert {file.figures["faces"] for file in verdict.files if file.engine} == {13}
    with pytest.raises(InputError, match="--checkpoint"):
        verify_bundle(copied, gate=Gate(faces, names))
    with pytest.raises(InputError, match="32 pixels"):
        verify_bundle(copied, checkpoint=tiny_checkpoint, gate=Gate(golden_faces(64)[0], golden_faces(64)[1]))
    given = [str(copied), "--checkpoint", str(tiny_checkpoint), "--faces", str(crops), "--count", "2", "--identity"]
    assert run_command(verify_command, "verify", given) == 0
    assert "worst face" in capsys.readouterr().out
    assert run_command(verify_command, "verify", [*given[:3], "--faces", str(tmp_path / "none")]) == 2


def test_turned_heads_come_first(tmp_path: Path) -> None:
    files, nose = [], {"a": 128.0, "b": 150.0, "c": 120.0, "d": 0.0}

    class Finder:
        name = "fake"

        def __call__(self, image: np.ndarray) -> list[Detection]:
            x = float(image[0, 0, 0])
            if x == 0:
                return []
            points = np.array([(100, 100), (156, 100), (x, 130), (108, 180), (148, 180)], float)
            return [Detection((0.0, 0.0, 256.0, 256.0), 1.0, points)]

    for name, x in nose.items():
        files.append(tmp_path / f"{name}.png")
        cv2.imwrite(str(files[-1]), np.full((32, 32, 3), x, np.uint8))
    assert [path.stem for path in most_turned(files, 32, Finder())] == ["b", "c", "a"]
    with pytest.raises(InputError, match="64 x 64"):
        most_turned(files, 64, Finder())


def test_it_needs_no_pytorch(copied: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'skimage')));"
        f"from pocketface.runtime.cli import main; sys.exit(main(['verify', {str(copied)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - own interpreter, fixed code
    assert "tiny: proven; weights compared with the manifest" in done.stdout, done.stderr
    assert done.returncode == 0


def test_weights_that_the_manifest_does_not_know_are_found(copied: Path) -> None:
    def change(manifest: Manifest) -> Manifest:
        first = dataclasses.replace(manifest.artefacts[0], weights_sha256="0" * 64)
        return dataclasses.replace(manifest, artefacts=(first, *manifest.artefacts[1:]))

    _amend(copied, change)
    assert _problems(verify_bundle(copied)) == {ONNX: ("its weights are not those of the manifest",)}


def test_a_file_of_another_format_is_found(copied: Path) -> None:
    shutil.copyfile(copied / TFLITE, copied / ONNX)

    def change(manifest: Manifest) -> Manifest:
        first = dataclasses.replace(manifest.artefacts[0], file=describe_file(copied, ONNX))
        return dataclasses.replace(manifest, artefacts=(first, *manifest.artefacts[1:]))

    _amend(copied, change)
    assert "ONNX file" in _problems(verify_bundle(copied))[ONNX][0]


def test_a_core_ml_package_is_proven_on_any_system(tmp_path: Path, tiny_checkpoint: Path) -> None:
    bundle = tmp_path / "bundle"
    build_bundle(Plan(tiny_checkpoint, ("coreml",), ("fp16",), (32,)), bundle)
    verdict = verify_bundle(bundle, checkpoint=tiny_checkpoint)
    assert verdict.passed
    assert verdict.files[0].engine == ENGINES[".mlpackage"]
    (bundle / "tiny_32_fp16.mlpackage/Manifest.json").unlink()
    assert "bytes instead of" in _problems(verify_bundle(bundle))["tiny_32_fp16.mlpackage"][0]


def test_another_checkpoint_is_refused(copied: Path, tmp_path: Path, lively: StudentRestorer) -> None:
    save_checkpoint(tmp_path / "other.safetensors", lively, training={"other": True})
    with pytest.raises(InputError, match=r"other\.safetensors"):
        verify_bundle(copied, checkpoint=tmp_path / "other.safetensors")


def test_a_choice_of_targets_leaves_the_others_out(copied: Path) -> None:
    (copied / TFLITE).unlink()
    assert verify_bundle(copied, targets=["onnx"]).passed
    with pytest.raises(InputError, match="coreml"):
        verify_bundle(copied, targets=["coreml"])


def test_an_empty_bundle_proves_nothing(copied: Path) -> None:
    _amend(copied, lambda manifest: dataclasses.replace(manifest, artefacts=()))
    with pytest.raises(InputError, match="none in"):
        verify_bundle(copied)


def test_a_missing_key_in_the_manifest_is_unusable_input(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads((copied / FILE_NAME).read_text())
    del values["artefacts"][0]["weights_sha256"]
    (copied / FILE_NAME).write_text(json.dumps(values))
    with pytest.raises(BundleError, match="missing weights_sha256"):
        verify_bundle(copied)
    assert run_command(verify_command, "verify", [str(copied)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_ends_with_0_or_1_and_writes_json(
    copied: Path, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(copied), "--json", str(tmp_path / "v.json"), "--checkpoint", str(tiny_checkpoint)]
    assert run_command(verify_command, "verify", given) == 0
    content = json.loads((tmp_path / "v.json").read_text())
    assert content["passed"] is True
    assert {file["path"] for file in content["files"]} >= {ONNX, TFLITE}
    assert "proven" in capsys.readouterr().out
    (copied / TFLITE).unlink()
    assert run_command(verify_command, "verify", given) == 1
    assert "NOT proven" in capsys.readouterr().out
    assert json.loads((tmp_path / "v.json").read_text())["passed"] is False


def test_a_folder_that_is_no_bundle_is_unusable_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(verify_command, "verify", [str(tmp_path)]) == 2
    assert "export one first" in capsys.readouterr().err


def test_a_verdict_fails_with_its_worst_file() -> None:
    good, bad = FileVerdict("a", 1), FileVerdict("b", 0, problems=("missing",))
    assert Verdict("x", "", (good,)).passed
    assert not Verdict("x", "", (good, bad)).passed
