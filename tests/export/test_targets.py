from __future__ import annotations

from pathlib import Path

import pytest
from torch import fx

from pocketface.export.calibration import ActivationRanges
from pocketface.export.golden import golden_faces
from pocketface.export.stored_weights import differences, digest, weights_of
from pocketface.export.strength import strength_problems
from pocketface.export.targets import TARGETS, Job
from pocketface.export.tflite_versions import oldest_runtime
from pocketface.runtime.backends import ENGINES, open_restorer
from pocketface.runtime.backends.pytorch import PytorchRestorer
from pocketface.runtime.errors import BundleError, ContractError, ExportError
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.parity import TOLERANCES, compare
from pocketface.runtime.restorer import Faces

FACTS = {"name": "lively_32", "licence": "CC-BY-4.0", "multiple": "8", "native_size": "32"}
# Core ML takes seconds to convert: test_to_coreml converts each precision once, here is one of each variant.
CASES = [
    (target.name, precision)
    for target in TARGETS.values()
    for precision in (target.precisions if target.suffix != ".mlpackage" else target.precisions[:1])
    if target.name != "coreml"
]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_every_format_is_written_run_and_read_back(
    tmp_path: Path,
    lively: StudentRestorer,
    lively_graph: fx.GraphModule,
    lively_ranges: ActivationRanges,
    golden: tuple[Faces, tuple[str, ...]],
    name: str,
    precision: str,
) -> None:
    target = TARGETS[name]
    path = tmp_path / f"a{target.suffix}"
    ranges = lively_ranges if precision in target.calibrated else None
    sizes = (32, 64) if target.flexible else ()
    target.write(Job(lively_graph, 32, precision, path, ranges, FACTS, sizes=sizes))
    restorer = open_restorer(path, threads=1)
    report = compare(PytorchRestorer(lively, "lively"), restorer, *golden)
    assert report.violations(TOLERANCES[precision]) == []
    assert restorer.info.size == (None if target.flexible else 32)
    assert restorer.info.native_size == 32
    contents = target.read(path)
    assert differences(weights_of(lively_graph), contents.weights) == []
    side = "S" if target.flexible else 32
    first = {"NCHW": 2, "NHWC": 1, "image": 2}
    eight = name in ("tflite-uint8", "tflite-integer", "coreml-image")
    image, strength = contents.inputs
    for spec in (image, *contents.outputs):
        assert spec.shape[first[spec.layout] :][:2] == (side, side)
        assert (spec.low, spec.high, spec.dtype) == ((0.0, 255.0, "uint8") if eight else (0.0, 1.0, "float32"))
    assert (strength.name, strength.shape, strength.layout) == ("strength", (1,), "")
    assert strength.dtype == ("uint8" if name in ("tflite-uint8", "tflite-integer") else "float32")
    assert contents.min_runtime
    assert strength_problems(restorer, golden[0], contents.inputs, name, precision) == []


@pytest.mark.parametrize("name", ["onnx-flexible", "coreml-flexible"])
def test_one_flexible_file_takes_every_size(
    tmp_path: Path, lively: StudentRestorer, lively_graph: fx.GraphModule, name: str
) -> None:
    target, reference = TARGETS[name], PytorchRestorer(lively, "lively")
    path = tmp_path / f"a{target.suffix}"
    precision = target.precisions[0]
    target.write(Job(lively_graph, 32, precision, path, None, FACTS, sizes=(32, 64)))
    restorer = open_restorer(path, threads=1)
    for size in (32, 64):
        report = compare(reference, restorer, *golden_faces(size))
        assert report.violations(TOLERANCES[precision]) == []
    if name == "coreml-flexible":
        with pytest.raises(ContractError, match="32 or 64"):
            restorer(golden_faces(96)[0])


def test_the_oldest_runtime_is_computed_from_what_a_file_uses(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    oldest = {"fp32": "TFLite 2.2.0", "fp16": "TFLite 2.2.0", "dynamic8": "TFLite 2.4.0", "int8": "TFLite 2.5.0"}
    for precision, wanted in oldest.items():
        path = tmp_path / "a.tflite"
        TARGETS["tflite"].write(Job(lively_graph, 32, precision, path, lively_ranges, FACTS))
        assert TARGETS["tflite"].read(path).min_runtime == wanted
        assert wanted.removeprefix("TFLite ").encode() in path.read_bytes()
    with pytest.raises(ExportError, match="ADD version 9"):
        oldest_runtime([("ADD", 9)])


def test_exact_formats_share_one_fingerprint(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    fingerprints = {digest(weights_of(lively_graph))}
    for name in ("onnx", "tflite"):
        path = tmp_path / f"a{TARGETS[name].suffix}"
        TARGETS[name].write(Job(lively_graph, 32, "fp32", path, None, FACTS))
        fingerprints.add(digest(TARGETS[name].read(path).weights))
    assert len(fingerprints) == 1


@pytest.mark.parametrize("name", TARGETS)
def test_what_needs_ranges_says_so(tmp_path: Path, lively_graph: fx.GraphModule, name: str) -> None:
    target = TARGETS[name]
    assert target.suffix in ENGINES
    for precision in target.calibrated:
        with pytest.raises(ExportError, match="ranges"):
            target.write(Job(lively_graph, 32, precision, tmp_path / f"a{target.suffix}", None, FACTS))


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_of_something_else_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a{TARGETS[name].suffix}"
    path.write_bytes(b"nothing of the kind, but long enough to be taken for a header")
    with pytest.raises(BundleError, match="export the bundle again"):
        TARGETS[name].read(path)
