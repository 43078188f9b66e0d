"""What the export tests share: a student small enough to convert in milliseconds, with something to lose."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import fx, nn

from pocketface.export.bundle import Plan, build_bundle
from pocketface.export.calibration import ActivationRanges, observe_ranges
from pocketface.export.deploy_graph import build_deploy_graph
from pocketface.export.golden import golden_faces
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.student import StudentConfig, StudentRestorer
from pocketface.runtime.restorer import Faces

SIZE = 32


@pytest.fixture(scope="session")
def lively() -> StudentRestorer:
    """A seeded student whose residual is large enough to show errors, with biases and slopes of all kinds."""
    torch.manual_seed(7)
    student = StudentRestorer(StudentConfig((8, 16), (1,), 1, (1,))).eval()
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.normal_(0, 0.05)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.2, 0.4)
        student.get_parameter("tail.2.weight").mul_(3)
    return student


@pytest.fixture(scope="session")
def lively_graph(lively: StudentRestorer) -> fx.GraphModule:
    return build_deploy_graph(lively)


@pytest.fixture(scope="session")
def golden() -> tuple[Faces, tuple[str, ...]]:
    return golden_faces(SIZE)


@pytest.fixture(scope="session")
def lively_ranges(lively_graph: fx.GraphModule, golden: tuple[Faces, tuple[str, ...]]) -> ActivationRanges:
    return observe_ranges(lively_graph, golden[0], "the golden faces")


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, lively: StudentRestorer, lively_ranges: ActivationRanges
) -> Path:
    """The lively student on disk, with its ranges beside it; read only."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, lively, training={"data": "none", "licence": "CC0-1.0"})
    lively_ranges.save(path.with_name("tiny.ranges.json"))
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A whole bundle without Core ML, whose conversion takes seconds; read only: copy it before breaking it."""
    output = tmp_path_factory.mktemp("bundles") / "tiny"
    build_bundle(Plan(tiny_checkpoint, ("onnx", "tflite"), ("fp32", "int8"), (SIZE,)), output)
    return output
