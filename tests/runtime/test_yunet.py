"""YuNet: what becomes of a file that is none, and of pictures without a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pocketface.runtime.errors import BackendError
from pocketface.runtime.faces.detect import open_detector


def test_a_damaged_file_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(BackendError, match="a YuNet file"):
        open_detector(path)
    assert capfd.readouterr().err == ""


def test_another_network_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.onnx"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "h", "w"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    with pytest.raises(BackendError, match="a YuNet file"):
        open_detector(path)(np.zeros((32, 32, 3), np.uint8))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("file", ["retinaface_mobilenet0.25.pth", "yunet_2026may.onnx"])
@pytest.mark.parametrize("size", [(1, 1), (10, 10), (3, 200), (160, 160)])
def test_a_picture_without_a_face_gives_none(
    shared: Path, file: str, size: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    detector = open_detector(shared / "weights" / file)
    assert detector(np.full((*size, 3), 128, np.uint8)) == []
    assert detector(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)) == []
    assert capfd.readouterr().err == ""
