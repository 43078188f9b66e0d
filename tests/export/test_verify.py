"""Planted faults: each must be found, and said in words."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pocketface.export import verify_command
from pocketface.export.bundle import Plan, build_bundle
from pocketface.export.deploy_graph import build_deploy_graph
from pocketface.export.from_onnx import read_onnx
from pocketface.export.stored_weights import digest
from pocketface.export.to_onnx import write_onnx
from pocketface.export.verify import FileVerdict, Verdict, verify_bundle
from pocketface.runtime.backends import ENGINES
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import BundleError, InputError
from pocketface.runtime.manifest import FILE_NAME, Manifest, describe_file, read_manifest, write_manifest
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.student import StudentRestorer

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
