from __future__ import annotations

from pathlib import Path

import pytest
from torch import fx

from pocketface.export.calibration import ActivationRanges
from pocketface.export.stored_weights import differences, digest, weights_of
from pocketface.export.targets import TARGETS, Job
from pocketface.runtime.backends import ENGINES, open_restorer
from pocketface.runtime.backends.pytorch import PytorchRestorer
from pocketface.runtime.errors import BundleError, ExportError
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.parity import TOLERANCES, compare
from pocketface.runtime.restorer import Faces

FACTS = {"name": "lively_32", "licence": "CC-BY-4.0"}
# Core ML takes seconds to convert: test_to_coreml converts each precision once, test_verify goes through the registry.
CASES = [(name, precision) for name in ("onnx", "tflite") for precision in TOLERANCES]


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
    target.write(Job(lively_graph, 32, precision, path, ranges, FACTS))
    restorer = open_restorer(path, threads=1)
    report = compare(PytorchRestorer(lively, "lively"), restorer, *golden)
    assert report.violations(TOLERANCES[precision]) == []
    assert restorer.info.size == 32
    contents = target.read(path)
    assert differences(weights_of(lively_graph), contents.weights) == []
    sides = {"NCHW": 2, "NHWC": 1}
    for spec in (*contents.inputs, *contents.outputs):
        first = sides[spec.layout]
        assert spec.shape[first : first + 2] == (32, 32)
        assert (spec.low, spec.high, spec.dtype) == (0.0, 1.0, "float32")


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
