from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx

from pocketface.export.calibration import ActivationRanges, degrade_for_calibration, observe_ranges
from pocketface.export.deploy_graph import build_deploy_graph
from pocketface.runtime.errors import ContractError, ExportError
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.restorer import Faces

Golden = tuple[Faces, tuple[str, ...]]


def _activations(graph: fx.GraphModule, faces: Faces) -> dict[str, np.ndarray[Any, Any]]:
    """Every node's output on all faces at once, the plain way."""
    seen: dict[fx.Node, torch.Tensor] = {}
    with torch.no_grad():
        for node in graph.graph.nodes:
            given = [seen[argument] if isinstance(argument, fx.Node) else argument for argument in node.args]
            if node.op == "placeholder":
                seen[node] = torch.from_numpy(faces) if node.name == "image" else torch.ones(1)
            elif node.op == "call_module":
                seen[node] = graph.get_submodule(str(node.target))(*given)
            elif node.op == "call_function":
                seen[node] = node.target(*given)  # pyright: ignore[reportCallIssue] - a function by its op
    return {node.name: values.numpy() for node, values in seen.items()}


def test_ranges_are_the_quantiles_over_all_faces(lively_graph: fx.GraphModule, golden: Golden) -> None:
    shares = (0.01, 0.995)
    ranges = observe_ranges(lively_graph, golden[0], "the golden faces", shares)
    for name, values in _activations(lively_graph, golden[0]).items():
        if name in ("image", "strength", "restored"):
            continue
        bin_width = (values.max() - values.min()) / 8192
        ranked = np.sort(values, axis=None)
        for share, found in zip(shares, ranges.values[name], strict=True):
            rank = int(share * len(ranked))
            # Where few values lie, the place between two neighbours is a matter of definition.
            around = ranked[max(0, rank - 2) : rank + 3]
            assert around.min() - 2 * bin_width <= found <= around.max() + 2 * bin_width, name


def test_the_image_keeps_its_range_at_both_ends(lively_ranges: ActivationRanges) -> None:
    assert lively_ranges.values["image"] == (0.0, 1.0)
    assert lively_ranges.values["restored"] == (0.0, 1.0)


def test_every_node_has_a_range(lively_graph: fx.GraphModule, lively_ranges: ActivationRanges) -> None:
    nodes = {node.name for node in lively_graph.graph.nodes if node.op != "output"}
    assert set(lively_ranges.values) == nodes - {"strength"}  # in [0, 1] by definition


def test_order_and_batches_of_faces_do_not_matter(
    lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, golden: Golden
) -> None:
    turned = observe_ranges(lively_graph, np.ascontiguousarray(golden[0][::-1]), "the same, backwards")
    for name, pair in turned.values.items():
        # Convolutions of another batch differ in the last bit, which may move a value into the next bin.
        np.testing.assert_allclose(pair, lively_ranges.values[name], rtol=1e-3, atol=1e-4)


def test_file_round_trip(tmp_path: Path, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges) -> None:
    path = tmp_path / "a.ranges.json"
    lively_ranges.save(path)
    loaded = ActivationRanges.load(path)
    assert loaded == lively_ranges
    loaded.check(lively_graph)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "pocketface-ranges-0"},
        {"ranges": {"stem": [1.0, -1.0]}},
        {"ranges": {"stem": [0.0, float("nan")]}},
        {"ranges": {"stem": [0.0]}},
        {"ranges": [1, 2]},
        {"quantiles": ["low", "high"]},
    ],
)
def test_a_file_that_is_no_ranges_is_refused(
    tmp_path: Path, lively_ranges: ActivationRanges, change: dict[str, object]
) -> None:
    path = tmp_path / "a.ranges.json"
    lively_ranges.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ExportError, match=r"a\.ranges\.json"):
        ActivationRanges.load(path)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": ', b"\xff\xfe\x00"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ranges.json"
    path.write_bytes(content)
    with pytest.raises(ExportError, match="activation ranges"):
        ActivationRanges.load(path)
    with pytest.raises(ExportError, match="activation ranges"):
        ActivationRanges.load(tmp_path / "missing.json")


def test_ranges_of_other_weights_are_refused(lively: StudentRestorer, lively_ranges: ActivationRanges) -> None:
    other = StudentRestorer(lively.config)
    with pytest.raises(ExportError, match="activation ranges of the weights"):
        lively_ranges.check(build_deploy_graph(other))


def test_a_node_without_range_is_named(lively_graph: fx.GraphModule, lively_ranges: ActivationRanges) -> None:
    values = {name: pair for name, pair in lively_ranges.values.items() if name != "down_0"}
    with pytest.raises(ExportError, match="down_0"):
        dataclasses.replace(lively_ranges, values=values).check(lively_graph)


def test_broken_weights_are_named(lively: StudentRestorer, golden: Golden) -> None:
    graph = build_deploy_graph(lively)
    with torch.no_grad():
        graph.get_submodule("down.0").bias.fill_(float("inf"))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue] - a Conv2d
    with pytest.raises(ExportError, match="down_0"):
        observe_ranges(graph, golden[0], "")


def test_faces_outside_the_contract_are_refused(lively_graph: fx.GraphModule, golden: Golden) -> None:
    with pytest.raises(ContractError):
        observe_ranges(lively_graph, golden[0] * 255, "")


def test_crops_are_degraded_reproducibly_and_differently() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    faces = degrade_for_calibration([crop] * 4)
    assert faces.shape == (4, 3, 64, 64)
    assert faces.dtype == np.float32
    assert np.array_equal(faces, degrade_for_calibration([crop] * 4))
    assert len({face.tobytes() for face in faces}) == 4


@pytest.mark.parametrize("sides", [(), (32, 64)])
def test_crops_must_be_of_one_size(sides: tuple[int, ...]) -> None:
    with pytest.raises(ExportError, match="one size"):
        degrade_for_calibration([np.zeros((side, side, 3), np.uint8) for side in sides])
