from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import fx, nn

from pocketface.export.calibration import ActivationRanges
from pocketface.export.deploy_graph import tail_of
from pocketface.export.from_onnx import read_onnx
from pocketface.export.onnx_int8 import quantise
from pocketface.export.stored_weights import differences, weights_of
from pocketface.export.to_onnx import build_onnx, write_onnx
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.backends.pytorch import PytorchRestorer
from pocketface.runtime.errors import BundleError, ExportError
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.parity import TOLERANCES, compare
from pocketface.runtime.restorer import Faces

Golden = tuple[Faces, tuple[str, ...]]


@pytest.fixture(scope="session")
def reference(lively: StudentRestorer) -> PytorchRestorer:
    return PytorchRestorer(lively, "lively")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_restores_as_the_student_does(
    tmp_path: Path, lively_graph: fx.GraphModule, reference: PytorchRestorer, golden: Golden, precision: str
) -> None:
    write_onnx(lively_graph, 32, precision, tmp_path / "a.onnx")
    report = compare(reference, open_restorer(tmp_path / "a.onnx", threads=1), *golden)
    assert report.violations(TOLERANCES[precision]) == []


def test_eight_bits_restore_as_the_student_does(
    tmp_path: Path,
    lively_graph: fx.GraphModule,
    reference: PytorchRestorer,
    golden: Golden,
    lively_ranges: ActivationRanges,
) -> None:
    write_onnx(lively_graph, 32, "int8", tmp_path / "a.onnx", ranges=lively_ranges)
    report = compare(reference, open_restorer(tmp_path / "a.onnx", threads=1), *golden)
    assert report.violations(TOLERANCES["int8"]) == []
    assert report.min_residual_snr_db is not None
    assert report.min_residual_snr_db > 15  # 8-bit activations; a graph that restores nothing scores 0


def test_takes_any_number_of_faces_of_any_size_where_left_open(
    tmp_path: Path, lively_graph: fx.GraphModule, reference: PytorchRestorer
) -> None:
    facts = {"multiple": "8", "native_size": "32", "name": "lively"}
    write_onnx(lively_graph, None, "fp32", tmp_path / "a.onnx", facts=facts)
    restorer = open_restorer(tmp_path / "a.onnx", threads=1)
    assert (restorer.info.name, restorer.info.multiple, restorer.info.native_size) == ("lively", 8, 32)
    for count, size in ((1, 40), (3, 64)):
        faces = np.random.default_rng(size).random((count, 3, size, size), np.float32)
        # float32 in another order of additions
        np.testing.assert_allclose(restorer(faces), reference(faces), atol=2e-6, rtol=0)


def test_tensors_are_called_after_the_graph_and_facts_are_kept(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    write_onnx(lively_graph, 32, "fp32", tmp_path / "a.onnx", facts={"licence": "CC-BY-4.0"})
    model = onnx.load(tmp_path / "a.onnx")
    named = [node.name for node in lively_graph.graph.nodes if node.op in ("call_module", "call_function")]
    assert [node.output[0] for node in model.graph.node] == named
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "strength", "restored"]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"licence": "CC-BY-4.0"}
    assert model.opset_import[0].version == 17


def test_eight_bit_form_leaves_image_and_result_unclipped(
    lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    narrow = dict.fromkeys(lively_ranges.values, (0.2, 0.4))
    model = quantise(build_onnx(lively_graph, 32), narrow, tail_of(lively_graph))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert constants["image_step"] == np.float32(1 / 255)
    assert constants["image_zero_point"] == 0
    assert not {"add_1_step", "restored_step"} & set(constants)
    last = {node.name: node for node in model.graph.node}["add_1"]
    assert list(last.input) == ["image", "residual"]
    assert list({node.name: node for node in model.graph.node}["residual"].input) == ["tail_3_8bit", "strength"]


def test_eight_bit_weights_leave_room_for_16_bit_sums(
    lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    model = quantise(build_onnx(lively_graph, 32), lively_ranges.values, [])
    levels = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith(".weight_levels")]
    assert len(levels) == 14  # convolutions
    assert all(level.dtype == np.int8 and np.abs(level).max() == 64 for level in levels)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_weights_are_read_back(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, precision: str
) -> None:
    ranges = lively_ranges if precision == "int8" else None
    write_onnx(lively_graph, 32, precision, tmp_path / "a.onnx", ranges=ranges)
    contents = read_onnx(tmp_path / "a.onnx")
    assert differences(weights_of(lively_graph), contents.weights) == []
    assert [spec.shape for spec in (*contents.inputs, *contents.outputs)] == [("N", 3, 32, 32), (1,), ("N", 3, 32, 32)]
    assert {spec.dtype for spec in (*contents.inputs, *contents.outputs)} == {"float32"}


def test_one_wrong_weight_is_found_by_name(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    write_onnx(lively_graph, 32, "fp16", tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == "middle.0.conv_pwl.weight")
    changed = numpy_helper.to_array(tensor).copy()
    changed[3, 5, 0, 0] *= np.float16(1.01)
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, tmp_path / "a.onnx")
    (words,) = differences(weights_of(lively_graph), read_onnx(tmp_path / "a.onnx").weights)
    assert words.startswith("middle_0_conv_pwl.weight: 1 of 512 values differ, first (3, 5, 0, 0)")


def test_a_damaged_file_cannot_be_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x99 not protobuf")
    with pytest.raises(BundleError, match=r"a\.onnx"):
        read_onnx(tmp_path / "a.onnx")


def test_an_unknown_precision_or_missing_ranges_are_refused(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    with pytest.raises(ExportError, match="int4"):
        write_onnx(lively_graph, 32, "int4", tmp_path / "a.onnx")
    with pytest.raises(ExportError, match="ranges"):
        write_onnx(lively_graph, 32, "int8", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_an_operation_that_it_does_not_know_is_named(tmp_path: Path) -> None:
    graph = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh()))
    with pytest.raises(ExportError, match="Tanh"):
        write_onnx(graph, 32, "fp32", tmp_path / "a.onnx")
