from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import fx, nn

from pocketface.export.from_coreml import read_coreml
from pocketface.export.stored_weights import differences, weights_of
from pocketface.export.to_coreml import PRECISIONS, write_coreml
from pocketface.runtime.backends import coreml, mil
from pocketface.runtime.backends.coreml import CoremlRestorer
from pocketface.runtime.backends.mlpackage import read_package
from pocketface.runtime.backends.pytorch import PytorchRestorer
from pocketface.runtime.errors import BackendError, BundleError, ContractError, ExportError
from pocketface.runtime.manifest import hash_artefact
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.parity import TOLERANCES, compare
from pocketface.runtime.restorer import Faces

FACTS = {"name": "lively", "author": "PocketFace", "licence": "CC-BY-4.0", "description": "restores", "version": "1"}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, lively_graph: fx.GraphModule) -> Iterator[dict[str, Path]]:
    """One conversion a precision, shared: each takes a second."""
    folder = tmp_path_factory.mktemp("packages")
    paths = {precision: folder / f"{precision}.mlpackage" for precision in PRECISIONS}
    for precision, path in paths.items():
        write_coreml(lively_graph, 32, precision, path, facts=FACTS)
    yield paths
    shutil.rmtree(folder)


@pytest.fixture
def copied(tmp_path: Path, packages: dict[str, Path]) -> Path:
    return Path(shutil.copytree(packages["fp16"], tmp_path / "a.mlpackage"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_program_computes_what_the_student_computes(
    packages: dict[str, Path],
    lively: StudentRestorer,
    golden: tuple[Faces, tuple[str, ...]],
    precision: str,
) -> None:
    restorer = mil.open(packages[precision])
    report = compare(PytorchRestorer(lively, "lively"), restorer, *golden)
    assert report.violations(TOLERANCES[precision]) == []
    assert report.min_residual_snr_db is not None
    assert report.min_residual_snr_db > 20  # 8-bit weights alone; a graph that restores nothing scores 0
    assert (restorer.info.engine, restorer.info.name, restorer.info.size) == ("mil", "lively", 32)
    assert restorer.info.sha256 == hash_artefact(packages[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_are_read_back(packages: dict[str, Path], lively_graph: fx.GraphModule, precision: str) -> None:
    contents = read_coreml(packages[precision])
    assert differences(weights_of(lively_graph), contents.weights) == []
    assert [spec.name for spec in (*contents.inputs, *contents.outputs)] == ["image", "strength", "restored"]
    assert contents.inputs[0].shape == (1, 3, 32, 32)


def test_half_precision_is_really_used(packages: dict[str, Path], lively: StudentRestorer, golden: Any) -> None:
    report = compare(PytorchRestorer(lively, "lively"), mil.open(packages["fp16"]), *golden)
    assert report.max_abs is not None
    assert report.max_abs > 1e-5  # float32 stays below 1e-6: see the test above


def test_facts_are_in_the_package(packages: dict[str, Path]) -> None:
    package = read_package(packages["int8"])
    metadata = package.spec.description.metadata
    assert (metadata.author, metadata.license, metadata.versionString) == ("PocketFace", "CC-BY-4.0", "1")
    assert metadata.shortDescription == "restores"
    assert package.facts["name"] == "lively"


def test_files_are_readable_by_everyone(packages: dict[str, Path]) -> None:
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in packages["fp16"].rglob("*"))


def test_one_wrong_weight_hides_from_pixels_but_not_from_the_reader(
    copied: Path, lively: StudentRestorer, lively_graph: fx.GraphModule, golden: tuple[Faces, tuple[str, ...]]
) -> None:
    weights = copied / "Data/com.apple.CoreML/weights/weight.bin"
    values = np.fromfile(weights, np.float16)
    layer = lively_graph.get_submodule("middle.0.conv_pwl")
    assert isinstance(layer, nn.Conv2d)
    kernel = layer.weight.detach().numpy().astype(np.float16).ravel()
    start = next(i for i in range(len(values) - len(kernel)) if np.array_equal(values[i : i + len(kernel)], kernel))
    values[start + 7] += np.float16(0.01)
    values.tofile(weights)
    report = compare(PytorchRestorer(lively, "lively"), mil.open(copied), *golden)
    assert report.passes(TOLERANCES["fp16"])
    (words,) = differences(weights_of(lively_graph), read_coreml(copied).weights)
    assert words.startswith("middle_0_conv_pwl.weight: 1 of 512 values differ")


@pytest.mark.parametrize("victim", ["Data/com.apple.CoreML/model.mlmodel", "Manifest.json"])
def test_a_damaged_package_is_refused(copied: Path, victim: str) -> None:
    (copied / victim).write_bytes((copied / victim).read_bytes()[:50])
    with pytest.raises(BackendError, match=r"a\.mlpackage"):
        mil.open(copied)
    with pytest.raises(BundleError, match=r"a\.mlpackage"):
        read_coreml(copied)


def test_truncated_weights_are_refused(copied: Path) -> None:
    weights = copied / "Data/com.apple.CoreML/weights/weight.bin"
    weights.write_bytes(weights.read_bytes()[:600])
    with pytest.raises(BackendError):
        mil.open(copied)


def test_faces_of_another_size_are_refused(packages: dict[str, Path]) -> None:
    with pytest.raises(ContractError, match="32 x 32"):
        mil.open(packages["fp32"])(np.zeros((1, 3, 64, 64), np.float32))


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_core_ml_itself_is_refused_off_a_mac(packages: dict[str, Path]) -> None:
    with pytest.raises(BackendError, match="macOS"):
        coreml.open(packages["fp32"])
    with pytest.raises(BackendError, match="gpu"):
        mil.open(packages["fp32"], device="gpu")


def test_core_ml_is_asked_face_by_face(packages: dict[str, Path]) -> None:
    """Stands in for a Mac: what Core ML's own `predict` is given and what is made of its answer."""

    class Predictor:
        def predict(self, given: dict[str, Any]) -> dict[str, Any]:
            assert set(given) == {"image", "strength"}
            assert given["strength"] == 1
            assert given["image"].shape == (1, 3, 32, 32)
            return {"restored": given["image"] * 2}

    path = packages["fp32"]
    restorer = CoremlRestorer(Predictor(), read_package(path), path, "cpu")
    faces = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(restorer(faces), np.clip(faces * 2, 0, 1))
    assert restorer.info.engine == "coreml"


def test_an_operation_or_precision_that_it_does_not_know_is_named(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    graph = fx.symbolic_trace(nn.Sequential(nn.Tanh()))
    graph.graph.find_nodes(op="placeholder")[0].name = "image"
    with pytest.raises(ExportError, match="Tanh"):
        write_coreml(graph, 32, "fp32", tmp_path / "a.mlpackage")
    with pytest.raises(ExportError, match="int4"):
        write_coreml(lively_graph, 32, "int4", tmp_path / "a.mlpackage")
    assert not list(tmp_path.iterdir())
