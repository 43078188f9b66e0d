"""The strength of a deploy graph, and the gate that finds files in which it does something else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import fx, nn

from pocketface.export.deploy_graph import build_deploy_graph, has_strength
from pocketface.export.strength import strength_problems
from pocketface.runtime.manifest import TensorSpec
from pocketface.runtime.restorer import Faces, RestorerInfo

INPUTS = (
    TensorSpec("image", (1, 3, 32, 32), "float32", "NCHW", 0, 1),
    TensorSpec("strength", (1,), "float32", "", 0, 1),
)


def _run(graph: fx.GraphModule, faces: Faces, strength: float) -> Faces:
    with torch.no_grad():
        return graph(torch.from_numpy(faces), torch.tensor([strength])).numpy()


class Graph:
    """A deploy graph as a restorer, with a fault on demand."""

    def __init__(self, graph: fx.GraphModule, fault: str = "") -> None:
        self._graph, self._fault = graph, fault
        self.info = RestorerInfo("graph", "torch", "cpu", 32, 8, 32, "")

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        if self._fault == "ignored":
            return _run(self._graph, faces, 1.0)
        if self._fault == "of the image":
            return np.clip(_run(self._graph, faces, 1.0) * np.float32(strength), 0, 1)
        if self._fault == "squared":
            return _run(self._graph, faces, strength**2)
        if self._fault == "turned round":
            return _run(self._graph, faces, 1 - strength)
        return _run(self._graph, faces, strength)


def test_strength_leads_steadily_from_the_face_to_the_restored_one(
    lively_graph: fx.GraphModule, golden: tuple[Faces, tuple[str, ...]]
) -> None:
    faces = golden[0]
    steps = [_run(lively_graph, faces, strength) for strength in np.linspace(0, 1, 11)]
    np.testing.assert_array_equal(steps[0], faces)
    full = lively_graph(torch.from_numpy(faces)).detach().numpy()
    np.testing.assert_allclose(steps[-1], full, rtol=0, atol=1e-6)  # sums of convolutions in another order
    moved = np.diff(np.stack(steps), axis=0)
    assert np.abs(moved).max() > 1e-3  # it does move
    turns = (moved > 1e-7).any(axis=0) & (moved < -1e-7).any(axis=0)  # 1e-7: the rounding of one addition
    assert not turns.any()


def test_a_network_that_adds_nothing_to_its_image_has_no_strength() -> None:
    graph = build_deploy_graph(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)))
    assert not has_strength(graph)


def test_a_sound_graph_passes(lively_graph: fx.GraphModule, golden: tuple[Faces, tuple[str, ...]]) -> None:
    assert has_strength(lively_graph)
    assert strength_problems(Graph(lively_graph), golden[0], INPUTS, "tflite", "fp32") == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [("ignored", "0 changes"), ("of the image", "0 changes"), ("squared", "half of the way"), ("turned round", "0 ch")],
)
def test_planted_faults_are_found(
    lively_graph: fx.GraphModule, golden: tuple[Faces, tuple[str, ...]], fault: str, said: str
) -> None:
    for target, precision in (("tflite", "fp32"), ("coreml", "fp16"), ("onnx", "int8")):
        problems = strength_problems(Graph(lively_graph, fault), golden[0], INPUTS, target, precision)
        assert said in " ".join(problems), (target, precision)


def test_an_older_file_has_nothing_to_prove(
    lively_graph: fx.GraphModule, golden: tuple[Faces, tuple[str, ...]]
) -> None:
    inputs = (dataclasses.replace(INPUTS[0]),)
    assert strength_problems(Graph(lively_graph, "ignored"), golden[0], inputs, "tflite", "fp32") == []
