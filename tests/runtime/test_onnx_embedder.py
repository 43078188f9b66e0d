"""Recognisers as ONNX files: colour order and scaling as they are stated, odd files by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketface.runtime.errors import BackendError, CheckpointError, InputError
from pocketface.runtime.models.judges import open_judge
from pocketface.runtime.models.onnx_embedder import OnnxEmbedder


def _write(
    path: Path, shape: tuple[int | str, ...] = ("N", 3, 112, 112), kind: int = TensorProto.FLOAT, *, flat: bool = True
) -> Path:
    """A recogniser that embeds a crop as the means of its three channels, plus 0.125, 0.25 and 0.5."""
    values = np.array([0.125, 0.25, 0.5], np.float16 if kind == TensorProto.FLOAT16 else np.float32)
    bias = numpy_helper.from_array(values, "bias")
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["mean"])]
    nodes += [helper.make_node("Flatten", ["mean"], ["flat"])] if flat else []
    nodes += [helper.make_node("Add", ["flat", "bias"], ["y"])] if flat else [helper.make_node("Relu", ["mean"], ["y"])]
    given = helper.make_tensor_value_info("x", kind, shape)
    found = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(nodes, "means", [given], [found], [bias] if flat else [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("statement", "colours", "low", "high"),
    [
        (None, [0, 1, 2], -1.0, 1.0),
        ({"colour": "bgr"}, [2, 1, 0], -1.0, 1.0),
        ({"range": [0, 255]}, [0, 1, 2], 0.0, 255.0),
        ({"range": [0, 1], "colour": "bgr", "output": "y"}, [2, 1, 0], 0.0, 1.0),
    ],
    ids=["insightface", "AdaFace", "unscaled", "all stated"],
)
def test_pixels_arrive_as_stated(
    tmp_path: Path, statement: object, colours: list[int], low: float, high: float
) -> None:
    file = _write(tmp_path / "net.onnx")
    if statement is not None:
        (tmp_path / "net.onnx.json").write_text(json.dumps(statement))
    torch.manual_seed(0)
    crops = torch.rand(2, 3, 112, 112) * torch.tensor([0.2, 0.5, 1.0])[:, None, None]  # no two channels alike
    values = (crops * (high - low) + low)[:, colours].mean((2, 3))
    expected = F.normalize(values + torch.tensor([0.125, 0.25, 0.5]))
    # Means of 12,544 float32 values, summed in another order.
    torch.testing.assert_close(OnnxEmbedder(file)(crops), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("statement", [{"color": "bgr"}, {"range": [1, 1]}, {"colour": "grey"}, []])
def test_statements_in_another_form_are_refused(tmp_path: Path, statement: object) -> None:
    (tmp_path / "net.onnx.json").write_text(json.dumps(statement))
    with pytest.raises(InputError, match=r"net\.onnx\.json"):
        open_judge(_write(tmp_path / "net.onnx"))


def test_an_output_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx.json").write_text('{"output": "features"}')
    with pytest.raises(CheckpointError, match="outputs y"):
        open_judge(_write(tmp_path / "net.onnx"))


@pytest.mark.parametrize("batch", [1, 3, "N"])
def test_any_number_of_faces_goes_through_any_batch(tmp_path: Path, batch: int | str) -> None:
    judge = open_judge(_write(tmp_path / "net.onnx", (batch, 3, 112, 112)))
    faces = np.random.default_rng(0).random((34, 3, 32, 32), np.float32)
    together = judge(faces)
    assert together.shape == (34, 3)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(together[30:], judge(faces[30:]), atol=1e-6)
    assert judge(faces[:0]).shape == (0, 3)


def test_narrow_crops_get_the_narrow_alignment(tmp_path: Path) -> None:
    judge = open_judge(_write(tmp_path / "net.onnx", (1, 3, 112, 96)))
    assert judge.template.name == "sphereface"
    assert open_judge(_write(tmp_path / "open.onnx", ("N", 3, "H", "W"))).template.name == "arcface"


@pytest.mark.parametrize(
    ("shape", "kind", "flat", "complaint"),
    [
        (("N", 112, 112, 3), TensorProto.FLOAT, False, "channels first"),
        (("N", 1, 112, 112), TensorProto.FLOAT, True, r"\(N, 3, 112, 112\)"),
        (("N", 3, 160, 160), TensorProto.FLOAT, True, "160 x 160"),
        (("N", 3, 112, 112), TensorProto.FLOAT16, True, "float16"),
        (("N", 3, 112, 112), TensorProto.FLOAT, False, r"embeddings \(1, D\)"),
    ],
    ids=["channels last", "grey", "size", "float16", "maps"],
)
def test_other_networks_are_refused(
    tmp_path: Path, shape: tuple[int | str, ...], kind: int, flat: bool, complaint: str
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        OnnxEmbedder(_write(tmp_path / "net.onnx", shape, kind, flat=flat))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"net\.onnx"):
        open_judge(tmp_path / "net.onnx")


def test_embeddings_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = OnnxEmbedder(_write(tmp_path / "net.onnx"))

    def run(*_: object) -> list[NDArray[np.float32]]:
        return [np.full((1, 3), np.nan, np.float32)]

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    with pytest.raises(CheckpointError, match="NaN"):
        embedder(torch.zeros(1, 3, 112, 112))


def test_a_network_that_stumbles_over_faces_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    five = numpy_helper.from_array(np.zeros(5, np.float32), "five")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3, "H", "W"))
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Add", ["x", "five"], ["y"])], "widths", [given], [found], [five])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx"
    )
    with pytest.raises(BackendError, match=r"crops of 112 x 112, got .*net\.onnx") as caught:
        OnnxEmbedder(tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
