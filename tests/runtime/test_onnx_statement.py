from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pocketface.runtime.backends import open_restorer
from pocketface.runtime.backends.onnx_statement import Statement, read_statement, side_file
from pocketface.runtime.errors import BackendError, InputError

# Two float32 operations on values up to 1, there and back.
FLOAT32_NOISE = 3e-7


def _write(path: Path, sides: tuple[int | str, ...] = ("N", 3, "S", "S"), kind: int = TensorProto.DOUBLE) -> Path:
    """Write a file that multiplies its faces by a second input `weight`; its other output is nonsense."""
    image, restored, nonsense = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("image", "restored", "nonsense")
    )
    weight = helper.make_tensor_value_info("weight", kind, [1])
    nodes = [
        helper.make_node("Cast", ["weight"], ["gain"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["image", "gain"], ["restored"]),
        helper.make_node("Neg", ["image"], ["nonsense"]),
    ]
    graph = helper.make_graph(nodes, "weighted", [image, weight], [nonsense, restored])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _state(path: Path, **values: Any) -> Path:
    side_file(path).write_text(json.dumps(values), encoding="utf-8")
    return path


def _faces(count: int = 2, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, size, size), np.float32)


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT])
def test_a_file_of_another_range_is_run_in_its_own(tmp_path: Path, kind: int) -> None:
    path = _write(tmp_path / "theirs.onnx", kind=kind)
    _state(path, range=[-1, 1], multiple=8, native_size=16, constants={"weight": 0.5}, output="restored")
    faces, restorer = _faces(), open_restorer(path)
    # Half of [-1, 1] about 0 is half of [0, 1] about 0.5.
    np.testing.assert_allclose(restorer(faces), (faces - 0.5) / 2 + 0.5, atol=FLOAT32_NOISE, rtol=0)
    assert (restorer.info.size, restorer.info.multiple, restorer.info.native_size) == (None, 8, 16)


def test_range_and_order_of_colours_go_there_and_back() -> None:
    statement, faces = Statement(range=(0.0, 255.0), colour="bgr"), _faces()
    given = statement.encode(faces)
    np.testing.assert_allclose(given[:, 0], faces[:, 2] * 255, rtol=1e-6)
    np.testing.assert_allclose(statement.decode(given), faces, atol=FLOAT32_NOISE, rtol=0)


def test_without_a_side_file_the_contract_is_taken_to_the_bit(tmp_path: Path) -> None:
    statement, faces = read_statement(tmp_path / "ours.onnx"), _faces()
    assert statement == Statement()
    np.testing.assert_array_equal(statement.decode(statement.encode(faces)), faces)


def test_a_size_may_be_stated_where_the_file_leaves_it_open(tmp_path: Path) -> None:
    path = _state(_write(tmp_path / "theirs.onnx"), size=16, constants={"weight": 1}, output="restored")
    assert open_restorer(path).info.size == 16


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rang": [-1, 1]}, "rang"),
        ({"range": [1, -1]}, "range"),
        ({"range": [0, 1, 2]}, "range"),
        ({"range": "[-1, 1]"}, "range"),
        ({"range": [0, float("inf")]}, "range"),
        ({"colour": "RGB"}, "colour"),
        ({"colour": ["rgb"]}, "colour"),
        ({"size": 0}, "size"),
        ({"size": True}, "size"),
        ({"multiple": 8.5}, "multiple"),
        ({"native_size": None}, "native_size"),
        ({"constants": {"weight": "half"}}, "constants"),
        ({"constants": [0.5]}, "constants"),
        ({"output": 1}, "output"),
    ],
)
def test_wrong_and_unknown_keys_are_errors(tmp_path: Path, values: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=rf"{named}.*theirs\.onnx\.json"):
        open_restorer(_state(_write(tmp_path / "theirs.onnx"), **values))


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"size": 1e999}'])
def test_a_side_file_that_is_no_object_of_json_is_an_error(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path / "theirs.onnx")
    side_file(path).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"theirs\.onnx\.json"):
        open_restorer(path)


def test_a_side_file_may_not_contradict_its_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "theirs.onnx", (1, 3, 16, 16))
    with pytest.raises(BackendError, match="size 16"):
        open_restorer(_state(path, size=512, constants={"weight": 1}, output="restored"))


@pytest.mark.parametrize("values", [{"constants": {"wait": 1}, "output": "restored"}, {"constants": {"weight": 1}}, {}])
def test_inputs_and_outputs_that_nobody_explained_are_named(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match=r"weight|nonsense"):
        open_restorer(_state(_write(tmp_path / "theirs.onnx", (1, 3, 16, 16)), **values))


def test_a_super_resolver_is_no_same_size_restorer(tmp_path: Path) -> None:
    image, enlarged = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side, side])
        for name, side in (("image", 16), ("enlarged", 32))
    )
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])
    graph = helper.make_graph(
        [helper.make_node("Resize", ["image", "", "scales"], ["enlarged"])], "up", [image], [enlarged], [scales]
    )
    path = tmp_path / "up.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(BackendError, match="shape"):
        open_restorer(path)(_faces(1))
