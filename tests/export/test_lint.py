"""What each delegate is known to refuse is named, with its place; what we ship is clean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from pocketface.export import lint as lint_module
from pocketface.export.calibration import ActivationRanges
from pocketface.export.lint import NAMES, READERS, LintReport, histogram_table, lint
from pocketface.export.lint_graph import EDGE, REFUSED, SLOW, module_of_name
from pocketface.export.quantise import per_tensor
from pocketface.export.targets import TARGETS, Job
from pocketface.export.tflite_builder import TFLiteBuilder
from pocketface.export.to_coreml import quiet
from pocketface.runtime.backends.mlpackage import import_coremltools
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import BackendError, BundleError, InputError

IMAGE = (1, 8, 8, 4)


def _found(report: LintReport, severity: str) -> set[tuple[str, str]]:
    return {(finding.delegate, finding.kind) for finding in report.findings if finding.severity == severity}


CASES = [
    (one.name, precision) for one in TARGETS.values() if one.suffix != ".mlpackage" for precision in one.precisions
]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_students_files_are_clean(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, name: str, precision: str
) -> None:
    path = tmp_path / f"a{TARGETS[name].suffix}"
    sizes = (32, 64) if TARGETS[name].flexible else ()
    TARGETS[name].write(Job(lively_graph, 32, precision, path, lively_ranges, {}, sizes=sizes))
    report = lint(path)
    assert report.clean, report.findings
    assert report.judged
    assert sum(report.operations.values()) > 20


def test_a_core_ml_package_is_clean(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    path = tmp_path / "a.mlpackage"
    TARGETS["coreml"].write(Job(lively_graph, 32, "fp16", path, None, {}))
    report = lint(path)
    assert report.clean, report.findings
    assert report.judged == ("ane",)
    kinds = [type(module).__name__ for module in lively_graph.modules()]
    assert report.operations["conv"] == kinds.count("Conv2d")
    assert "const" not in report.operations


def test_the_retired_hexagon_delegate_is_asked_by_name_alone(
    tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    path = tmp_path / "a.tflite"
    TARGETS["tflite"].write(Job(lively_graph, 32, "int8", path, lively_ranges, {}))
    assert "hexagon-hvx" not in lint(path).judged
    report = lint(path, ["hexagon-hvx"])
    assert ("hexagon-hvx", "LEAKY_RELU") in _found(report, REFUSED)
    assert ("hexagon-hvx", "CONV_2D") in _found(report, EDGE)  # the stem's stride of 4, at the graph's beginning
    TARGETS["tflite"].write(Job(lively_graph, 32, "fp32", path, None, {}))
    assert "8-bit" in lint(path, ["hexagon-hvx"]).declined["hexagon-hvx"]


def test_a_node_is_traced_to_its_module(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    for name, module in (
        ("encoder_0_0_conv_pw", "encoder.0.0.conv_pw"),
        ("up_2_0", "up.2.0"),
        ("decoder_0_1_add", "decoder.0.1"),
        ("add_1", ""),
        ("stem", "stem"),
    ):
        assert module_of_name(name) == module
    modules = {str(node.target) for node in lively_graph.graph.nodes if node.op == "call_module"}
    path = tmp_path / "a.onnx"
    TARGETS["onnx"].write(Job(lively_graph, 32, "fp32", path, None, {}))
    reader = __import__("pocketface.export.lint_onnx", fromlist=["read_graph"])
    found = {operation.module for operation in reader.read_graph(path).operations if operation.kind != "Clip"}
    assert modules <= found


def _tflite(
    path: Path, kind: str, shapes: Sequence[Sequence[int]], made: Sequence[int], options: object = None
) -> Path:
    """A file in which a convolution, the operator in question, and a leaky ReLU follow each other."""
    builder = TFLiteBuilder()
    image = builder.tensor("image", IMAGE, np.float32)
    weights = builder.constant("stem.weight", np.zeros((4, 1, 1, 4), np.float32))
    bias = builder.constant("stem.bias", np.zeros(4, np.float32))
    first = builder.tensor("stem", shapes[0], np.float32)
    conv = schema.Conv2DOptionsT()
    conv.strideH = conv.strideW = 1
    builder.operator("CONV_2D", 1, [image, weights, bias], [first], conv)
    others = [builder.constant(f"other{i}", np.zeros(shape, np.int32)) for i, shape in enumerate(shapes[1:])]
    middle = builder.tensor("body_0_act", made, np.float32)
    builder.operator(kind, 1, [first, *others], [middle], options)
    last = builder.tensor("end", made, np.float32)
    builder.operator("LEAKY_RELU", 1, [middle], [last], schema.LeakyReluOptionsT())
    path.write_bytes(builder.to_bytes("", "serving_default", {"image": image}, {"end": last}))
    return path


@pytest.mark.parametrize(
    ("kind", "shapes", "made", "refusing", "words"),
    [
        ("GATHER_ND", [IMAGE, (1, 4)], IMAGE, {"gpu", "nnapi", "hexagon", "xnnpack"}, "not on its list"),
        ("SELECT_V2", [IMAGE, IMAGE, (4,)], IMAGE, {"gpu", "nnapi", "xnnpack"}, "broadcast"),
        ("SELECT", [IMAGE, IMAGE, (4,)], IMAGE, {"gpu", "nnapi", "xnnpack"}, "several shapes"),
        ("RESHAPE", [IMAGE, (5,)], (1, 2, 4, 8, 4), {"gpu", "nnapi", "hexagon"}, "5 axes"),
        ("WHERE", [IMAGE], IMAGE, {"gpu", "nnapi", "hexagon", "xnnpack"}, "list"),
    ],
)
def test_what_a_tflite_delegate_refuses_is_named(
    tmp_path: Path, kind: str, shapes: Sequence[Sequence[int]], made: Sequence[int], refusing: set[str], words: str
) -> None:
    report = lint(_tflite(tmp_path / "a.tflite", kind, shapes, made))
    severity = EDGE if len(made) > 4 else REFUSED  # what follows has five axes too, so that nothing is split
    assert {delegate for delegate, found in _found(report, severity) if found == kind} == refusing
    finding = next(one for one in report.findings if one.kind == kind and words in one.reason)
    assert finding.module == "body.0.act"
    assert finding.source
    assert report.clean == (severity == EDGE)


def test_transposes_are_slow(tmp_path: Path) -> None:
    report = lint(_tflite(tmp_path / "a.tflite", "TRANSPOSE", [IMAGE, (4,)], IMAGE))
    assert _found(report, SLOW) == {(name, "TRANSPOSE") for name in ("gpu", "nnapi", "hexagon", "xnnpack")}
    assert not _found(report, REFUSED)


def test_a_refused_node_at_the_end_leaves_the_rest_whole(tmp_path: Path) -> None:
    builder = TFLiteBuilder()
    image, first, last = (builder.tensor(name, IMAGE, np.float32) for name in ("image", "act", "end"))
    builder.operator("LEAKY_RELU", 1, [image], [first], schema.LeakyReluOptionsT())
    builder.operator("CEIL", 1, [first], [last])  # known to the GPU delegate, not to NNAPI
    path = tmp_path / "a.tflite"
    path.write_bytes(builder.to_bytes("", "serving_default", {"image": image}, {"end": last}))
    report = lint(path, ["gpu", "nnapi"])
    assert _found(report, EDGE) == {("nnapi", "CEIL")}
    assert report.clean


def test_a_float_island_in_an_8_bit_graph_is_named(tmp_path: Path) -> None:
    builder, scale = TFLiteBuilder(), per_tensor(0.1, 0)
    weights = builder.constant("stem.weight", np.zeros((4, 1, 1, 4), np.int8), scale)
    bias = builder.constant("stem.bias", np.zeros(4, np.int32), scale)
    image, levels = builder.tensor("image", IMAGE, np.int8, scale), builder.tensor("stem", IMAGE, np.int8, scale)
    before, after = builder.tensor("a", IMAGE, np.float32), builder.tensor("body_0_act", IMAGE, np.float32)
    back, last = builder.tensor("b", IMAGE, np.int8, scale), builder.tensor("end", IMAGE, np.int8, scale)
    options = schema.Conv2DOptionsT()
    builder.operator("CONV_2D", 3, [image, weights, bias], [levels], options)
    builder.operator("DEQUANTIZE", 2, [levels], [before])
    builder.operator("LEAKY_RELU", 1, [before], [after], schema.LeakyReluOptionsT())
    builder.operator("QUANTIZE", 1, [after], [back])
    builder.operator("LEAKY_RELU", 1, [back], [last], schema.LeakyReluOptionsT())
    path = tmp_path / "a.tflite"
    path.write_bytes(builder.to_bytes("", "serving_default", {"image": image}, {"end": last}))
    islands = [one for one in lint(path).findings if "between 8-bit nodes" in one.reason]
    assert {(one.delegate, one.node) for one in islands} == {
        (name, "body_0_act") for name in ("nnapi", "hexagon", "xnnpack")
    }


def _onnx(path: Path, *nodes: onnx.NodeProto, constants: dict[str, np.ndarray] | None = None) -> Path:
    shape = (1, 16, 8, 8)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    ends[1].type.tensor_type.ClearField("shape")
    weights = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    body = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def _between(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Leaky ReLUs around a node that reads `a` and makes `b`: what is refused there splits the graph."""
    return [helper.make_node("LeakyRelu", ["x"], ["a"]), node, helper.make_node("LeakyRelu", ["b"], ["y"])]


def test_what_an_onnx_provider_refuses_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    shuffle = helper.make_node("DepthToSpace", ["a"], ["b"], "tail_3", blocksize=2, mode="CRD")
    report = lint(_onnx(path, *_between(shuffle)))
    assert _found(report, REFUSED) == {("nnapi", "DepthToSpace"), ("coreml", "DepthToSpace")}
    assert {finding.module for finding in report.findings} == {"tail.3"}
    places = {"i": np.zeros((1, 8, 8, 1), np.int64)}
    gather = helper.make_node("GatherND", ["a", "i"], ["b"], batch_dims=0)
    report = lint(_onnx(path, *_between(gather), constants={"i": places["i"].reshape(64, 1)}))
    assert ("nnapi", "GatherND") in _found(report, REFUSED)
    choose = helper.make_node("Where", ["m", "a", "a"], ["b"])
    report = lint(_onnx(path, *_between(choose), constants={"m": np.ones((1, 16, 8, 8), bool)}))
    assert _found(report, REFUSED) == {("nnapi", "Where"), ("coreml", "Where")}
    move = helper.make_node("Transpose", ["a"], ["b"], perm=(0, 1, 3, 2))
    assert _found(lint(_onnx(path, *_between(move))), SLOW) == {(n, "Transpose") for n in ("nnapi", "coreml", "qnn")}


def test_open_sides_are_a_note(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    path = tmp_path / "a.onnx"
    TARGETS["onnx"].write(Job(lively_graph, 32, "fp32", path, None, {}))
    (finding,) = lint(path, ["nnapi"]).findings
    assert (finding.severity, finding.node) == ("note", "")
    assert "N=1" in finding.reason


def test_what_the_neural_engine_refuses_is_named(tmp_path: Path) -> None:
    tools = import_coremltools()
    builder = import_coremltools("coremltools.converters.mil").Builder

    @builder.program(input_specs=[builder.TensorSpec((1, 4, 8, 8))], opset_version=tools.target.iOS16)
    def program(x: Any) -> Any:
        x = builder.relu(x=x, name="first")
        x = builder.transpose(x=x, perm=[0, 1, 3, 2], name="body_0_turn")
        x = builder.gather(x=x, indices=np.array([1, 0, 3], np.int32), axis=1, name="body_1_pick")
        return builder.relu(x=x, name="last")

    with quiet():
        model = tools.convert(program, minimum_deployment_target=tools.target.iOS16, skip_model_load=True)
        model.save(str(tmp_path / "a.mlpackage"))
    report = lint(tmp_path / "a.mlpackage")
    assert ("ane", "gather") in _found(report, REFUSED)
    assert ("ane", "transpose") in _found(report, SLOW)
    assert "body.1.pick" in {finding.module for finding in report.findings if finding.kind == "gather"}


def test_before_and_after_the_advice(tmp_path: Path, lively_graph: fx.GraphModule) -> None:
    """The same shape of network as most people write it, and as `deploy_graph` does."""
    torch.manual_seed(0)
    raw = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.PReLU(8), nn.Conv2d(8, 8, 3, padding=1), nn.PReLU(8),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(8, 12, 1), nn.PixelShuffle(2), nn.Conv2d(3, 3, 1),
    ).eval()  # fmt: skip
    nodes, weights, given = [], {}, "x"
    for i, module in enumerate(raw):
        nodes.append(_raw_node(module, str(i), given, weights))
        given = nodes[-1].output[0]
    nodes[-1].output[0] = "y"
    before, after = _onnx(tmp_path / "raw.onnx", *nodes, constants=weights), tmp_path / "deploy.onnx"
    TARGETS["onnx"].write(Job(lively_graph, 32, "fp32", after, None, {}))
    reports = [lint(before), lint(after)]
    assert [report.count(REFUSED) for report in reports] == [1, 0]
    table = histogram_table(reports)
    assert "| PRelu | 2 |  |" in table
    assert "| nodes refused | 1 | 0 |" in table


def _raw_node(module: nn.Module, name: str, given: str, weights: dict[str, np.ndarray]) -> onnx.NodeProto:
    if isinstance(module, nn.Conv2d):
        weights[f"{name}.weight"] = module.weight.detach().numpy()
        pads = [int(side) for side in module.padding] * 2
        return helper.make_node("Conv", [given, f"{name}.weight"], [name], name, strides=module.stride, pads=pads)
    if isinstance(module, nn.PReLU):
        weights[f"{name}.slope"] = module.weight.detach().numpy().reshape(-1, 1, 1)
        return helper.make_node("PRelu", [given, f"{name}.slope"], [name], name)
    if isinstance(module, nn.PixelShuffle):
        return helper.make_node("DepthToSpace", [given], [name], name, blocksize=2, mode="CRD")
    weights["factors"] = np.array([1, 1, 2, 2], np.float32)
    return helper.make_node("Resize", [given, "", "factors"], [name], name, mode="nearest")


@pytest.mark.parametrize("suffix", READERS)
def test_a_file_of_something_else_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"nothing of the kind, but long enough to be taken for a header")
    with pytest.raises((BackendError, BundleError), match="export"):
        lint(path)


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mlpackage"):
        lint(tmp_path / "a.pt")
    with pytest.raises(InputError, match="nowhere"):
        lint(tmp_path / "nowhere.onnx")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="npu9"):
        lint(tmp_path / "a.onnx", ["npu9"])
    assert len(set(NAMES)) == len(NAMES)


def test_the_command_ends_with_0_or_1(tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(tiny_bundle / "tiny_32_int8.tflite")
    assert run_command(lint_module, "lint", [good, "--histogram", "--json", str(tmp_path / "l.json")]) == 0
    out = capsys.readouterr().out
    assert "tiny_32_int8.tflite: clean for gpu, nnapi, hexagon, xnnpack" in out
    assert "| CONV_2D |" in out
    assert json.loads((tmp_path / "l.json").read_text())[0]["clean"] is True
    bad = str(_tflite(tmp_path / "bad.tflite", "GATHER_ND", [IMAGE, (1, 4)], IMAGE))
    assert run_command(lint_module, "lint", [good, bad]) == 1
    assert "1 nodes refused" in capsys.readouterr().out
