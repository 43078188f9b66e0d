"""TFLite files of the student: right, whole in their types, self-describing, and the same every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from pocketface.export.calibration import ActivationRanges, observe_ranges
from pocketface.export.deploy_graph import build_deploy_graph, tail_of
from pocketface.export.golden import golden_faces
from pocketface.export.to_tflite import PRECISIONS, write_tflite
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.errors import ExportError
from pocketface.runtime.metrics import max_abs, psnr, snr_of_residual
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.parity import TOLERANCES
from pocketface.runtime.restorer import Faces

Golden = tuple[Faces, tuple[str, ...]]
_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
# The lowest version that knows each operator's use here; a higher one would lock out old runtimes.
_FLOAT = {("CONV_2D", 1), ("DEPTHWISE_CONV_2D", 1), ("LEAKY_RELU", 1), ("ADD", 1), ("RESIZE_BILINEAR", 3)}
_FLOAT |= {("DEPTH_TO_SPACE", 1), ("MINIMUM", 1), ("MUL", 1)}
_INT8 = {("CONV_2D", 3), ("DEPTHWISE_CONV_2D", 3), ("LEAKY_RELU", 1), ("ADD", 2), ("RESIZE_BILINEAR", 3)}
_INT8 |= {("DEPTH_TO_SPACE", 2), ("QUANTIZE", 1)}
# The ends of an 8-bit file compute in float: convolutions, activations and additions of the first block, the
# strength and the clamp.
_ENDS = {("CONV_2D", 1), ("DEPTHWISE_CONV_2D", 1), ("ADD", 1), ("MINIMUM", 1), ("MUL", 1), ("DEQUANTIZE", 2)}
_HYBRID = (_FLOAT - {("CONV_2D", 1)}) | {("CONV_2D", 5)}


def _write(
    path: Path, graph: fx.GraphModule, precision: str, ranges: ActivationRanges, image_io: str = "float32"
) -> Path:
    write_tflite(graph, 32, precision, path, ranges if precision == "int8" else None, image_io)
    return path


def _parse(path: Path) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))


def _expected(graph: fx.GraphModule, faces: Faces) -> Faces:
    with torch.no_grad():
        return graph(torch.from_numpy(faces)).numpy()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_restores_as_pytorch_does(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, golden: Golden, precision: str
) -> None:
    faces = golden[0]
    found = open_restorer(_write(tmp_path / "a.tflite", lively_graph, precision, lively_ranges), threads=1)(faces)
    expected = _expected(lively_graph, faces)
    assert psnr(expected, found).min() >= TOLERANCES[precision].min_psnr_db
    if precision == "fp32":  # the same sums in another order
        assert max_abs(expected, found).max() <= 1e-5


def test_int8_without_a_residual_gives_the_face_back_untouched(
    tmp_path: Path, lively: StudentRestorer, golden: Golden
) -> None:
    idle = StudentRestorer(lively.config).eval()
    with torch.no_grad():
        idle.get_parameter("tail.2.weight").zero_()
    graph = build_deploy_graph(idle)
    path = _write(tmp_path / "a.tflite", graph, "int8", observe_ranges(graph, golden[0], "golden"))
    # Grey levels go in, pass the global addition, and come out untouched: scale 1/255 on both sides is exact.
    np.testing.assert_allclose(open_restorer(path, threads=1)(golden[0]), golden[0], atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "operators"),
    [("fp32", _FLOAT), ("fp16", _FLOAT | {("DEQUANTIZE", 3)}), ("dynamic8", _HYBRID), ("int8", _INT8 | _ENDS)],
)
def test_uses_few_operators_in_their_oldest_versions(
    tmp_path: Path,
    lively_graph: fx.GraphModule,
    lively_ranges: ActivationRanges,
    precision: str,
    operators: set[tuple[str, int]],
) -> None:
    model = _parse(_write(tmp_path / "a.tflite", lively_graph, precision, lively_ranges))
    used = {(_OPERATORS[code.builtinCode], code.version) for code in model.operatorCodes}
    assert used == operators
    assert all(code.deprecatedBuiltinCode == code.builtinCode for code in model.operatorCodes)


def test_int8_files_compute_in_int8_alone_where_nothing_is_kept(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    path = tmp_path / "a.tflite"
    write_tflite(lively_graph, 32, "int8", path, lively_ranges, "uint8", keep_float=())
    types = Counter(tensor.type for tensor in _parse(path).subgraphs[0].tensors)
    assert types[schema.TensorType.UINT8] == 3  # face, strength, result
    assert types[schema.TensorType.FLOAT32] == types[schema.TensorType.FLOAT16] == 0


def test_constants_start_where_vector_instructions_want_them(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    content = _write(tmp_path / "a.tflite", lively_graph, "fp32", lively_ranges).read_bytes()
    model: Any = schema.Model.GetRootAs(content)
    file = np.frombuffer(content, np.uint8).ctypes.data
    buffers = [model.Buffers(index).DataAsNumpy() for index in range(1, model.BuffersLength())]
    assert len(buffers) > 20
    assert {(buffer.ctypes.data - file) % 16 for buffer in buffers} == {0}


def test_float_ends_follow_the_student_more_closely(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, golden: Golden
) -> None:
    expected, found = _expected(lively_graph, golden[0]), []
    for keep in ((), tail_of(lively_graph), None):
        path = tmp_path / "a.tflite"
        write_tflite(lively_graph, 32, "int8", path, lively_ranges, keep_float=keep)
        found.append(snr_of_residual(expected, open_restorer(path, threads=1)(golden[0]), golden[0]).mean())
    assert found[0] + 0.5 < found[1] < found[2]


def test_any_node_can_be_kept_float(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, golden: Golden
) -> None:
    """Also in the middle, where both neighbours are levels; with all kept nothing is left but the float network."""
    names = [node.name for node in lively_graph.graph.nodes if node.op in ("call_module", "call_function")]
    expected = _expected(lively_graph, golden[0])
    for keep, least in ((["middle_0_conv_dw"], 35.0), (names, 100.0)):
        path = tmp_path / "a.tflite"
        write_tflite(lively_graph, 32, "int8", path, lively_ranges, keep_float=keep)
        assert psnr(expected, open_restorer(path, threads=1)(golden[0])).min() > least
    with pytest.raises(ExportError, match="nowhere"):
        write_tflite(lively_graph, 32, "int8", path, lively_ranges, keep_float=["nowhere"])


def test_the_same_input_gives_the_same_bytes(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    for precision in PRECISIONS:
        first, second = (
            _write(tmp_path / name, lively_graph, precision, lively_ranges).read_bytes() for name in ("a", "b")
        )
        assert first == second


@pytest.mark.parametrize("precision", PRECISIONS)
def test_uint8_files_give_the_float_files_answer_in_grey_levels(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, golden: Golden, precision: str
) -> None:
    answers = [
        open_restorer(_write(tmp_path / f"{io}.tflite", lively_graph, precision, lively_ranges, io), threads=1)(
            golden[0]
        )
        for io in ("float32", "uint8")
    ]
    levels = answers[1] * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    # Half a grey level for rounding; activations that are quantised as they come feel the last bit of their input.
    assert np.abs(answers[0] * 255 - levels).max() <= (1.0 if precision == "dynamic8" else 0.501)


def test_says_what_it_is(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    path = tmp_path / "a.tflite"
    write_tflite(lively_graph, 32, "fp32", path, facts={"name": "student-tiny", "licence": "CC0-1.0"})
    model = _parse(path)
    signature = model.signatureDefs[0]
    assert signature.signatureKey == b"restore"
    assert [entry.name for entry in signature.inputs] == [b"image", b"strength"]
    assert [entry.name for entry in signature.outputs] == [b"restored"]
    assert b"fp32, 32 x 32" in model.description
    stored = {entry.name: bytes(model.buffers[entry.buffer].data) for entry in model.metadata}
    assert b'"licence": "CC0-1.0"' in stored[b"pocketface"]
    assert b"weights_sha256" in stored[b"pocketface"]
    assert open_restorer(path).info.name == "student-tiny"


def test_the_base_student_is_small_in_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = build_deploy_graph(StudentRestorer())
    ranges = observe_ranges(graph, golden_faces(64)[0][:1], "one golden face")
    sizes = {}
    for precision in PRECISIONS:
        path = tmp_path / f"{precision}.tflite"
        write_tflite(graph, 64, precision, path, ranges if precision == "int8" else None)
        sizes[precision] = path.stat().st_size
    assert sizes["int8"] < 2.0e6
    # 1.287 M parameters: 4 and 2 bytes each, and what the structure takes.
    assert sizes["fp32"] < 5.3e6
    assert sizes["fp16"] < 2.7e6


def test_refuses_what_it_cannot_write(
    tmp_path: Path, lively: StudentRestorer, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(b"the old file")
    other = build_deploy_graph(StudentRestorer(lively.config))
    with pytest.raises(ExportError, match="fp32, fp16, dynamic8, int8"):
        write_tflite(lively_graph, 32, "int4", path)
    with pytest.raises(ExportError, match="float32, uint8"):
        write_tflite(lively_graph, 32, "fp32", path, image_io="uint16")
    with pytest.raises(ExportError, match="ranges"):
        write_tflite(lively_graph, 32, "int8", path)
    with pytest.raises(ExportError, match="ranges of"):
        write_tflite(other, 32, "int8", path, lively_ranges)
    with pytest.raises(ExportError, match="runs on the input shapes"):
        write_tflite(lively_graph, 20, "fp32", path)
    assert path.read_bytes() == b"the old file"
    assert [file.name for file in tmp_path.iterdir()] == ["a.tflite"]


def test_weights_beyond_half_precision_are_named(tmp_path: Path, lively: StudentRestorer) -> None:
    graph = build_deploy_graph(lively)
    with torch.no_grad():
        graph.get_submodule("down.0").weight[0, 0, 0, 0] = 1e6  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue] - a Conv2d
    with pytest.raises(ExportError, match=r"down\.0\.weight"):
        write_tflite(graph, 32, "fp16", tmp_path / "a.tflite")
