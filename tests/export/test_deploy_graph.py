"""The deployable graph: exact, flat, named, and strict about what it lets through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pocketface.export.deploy_graph import IMAGE, RESTORED, build_deploy_graph, trace, weights_sha256
from pocketface.runtime.errors import ExportError
from pocketface.runtime.models.checkpoint import hash_tensors
from pocketface.runtime.models.student import StudentConfig, StudentRestorer

TINY = StudentConfig((8, 16), (1,), 1, (1,))


@pytest.fixture
def student() -> StudentRestorer:
    torch.manual_seed(3)
    student = StudentRestorer(TINY).eval()
    with torch.no_grad():
        student.get_parameter("tail.2.weight").mul_(
            40
        )  # far from the identity, so that the clamp has work to do on both sides
        for module in student.modules():
            if isinstance(module, nn.PReLU):
                module.weight.fill_(float(torch.rand(()) - 0.3))
            elif isinstance(module, nn.BatchNorm2d):  # statistics that make a difference when they are folded
                for values in (module.weight, module.bias, module.running_mean, module.running_var):
                    values.uniform_(0.5, 1.5)  # pyright: ignore[reportOptionalMemberAccess] - it tracks statistics
    return student


def test_computes_what_the_clamped_student_computes(student: StudentRestorer) -> None:
    faces = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        raw, deployed = student(faces), build_deploy_graph(student)(faces)
    assert raw.min() < 0 < 1 < raw.max()
    # Folding BatchNorm into convolutions rounds each weight once more in float32.
    assert torch.allclose(deployed, raw.clamp(0, 1), atol=1e-5)


def test_holds_only_the_operations_that_devices_know(student: StudentRestorer) -> None:
    graph = build_deploy_graph(student)
    kinds = {type(graph.get_submodule(str(node.target))) for node in graph.graph.nodes if node.op == "call_module"}
    assert kinds == {nn.Conv2d, nn.LeakyReLU, nn.Upsample, nn.PixelShuffle}


def test_names_nodes_by_their_path(student: StudentRestorer) -> None:
    names = [node.name for node in build_deploy_graph(student).graph.nodes]
    assert names[0] == IMAGE
    assert names[-2:] == [RESTORED, "output"]
    assert {"stem", "encoder_0_0_conv_pw", "encoder_0_0_add", "add", "up_0_1", "tail_3", "add_1"} <= set(names)


def test_leaves_the_student_as_it_was(student: StudentRestorer) -> None:
    student.train()
    build_deploy_graph(student)
    assert student.training
    assert isinstance(student.tail[1], nn.PReLU)
    assert student.stem.weight.requires_grad


def test_hash_follows_weights_and_slopes(student: StudentRestorer) -> None:
    before = weights_sha256(build_deploy_graph(student))
    assert before == weights_sha256(build_deploy_graph(student))
    with torch.no_grad():
        student.get_parameter("tail.1.weight").add_(1e-3)
    slope = weights_sha256(build_deploy_graph(student))
    with torch.no_grad():
        student.stem.weight[0, 0, 0, 0] += 1e-3
    assert len({before, slope, weights_sha256(build_deploy_graph(student))}) == 3


def test_hash_is_that_of_the_network_before_folding(student: StudentRestorer) -> None:
    """Folding rounds differently from machine to machine, and shipped ranges must match on all of them."""
    assert weights_sha256(build_deploy_graph(student)) == hash_tensors(student.state_dict())


class _Inner(nn.Module):
    def __init__(self, culprit: nn.Module) -> None:
        super().__init__()
        self.culprit = culprit

    def forward(self, x: Tensor) -> Tensor:
        return self.culprit(x)


@pytest.mark.parametrize(
    "culprit",
    [
        nn.Sigmoid(),
        nn.PReLU(3),
        nn.BatchNorm2d(3),  # with no convolution in front that could take it in
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=4, mode="bilinear"),
    ],
)
def test_names_node_and_module_of_what_it_refuses(culprit: nn.Module) -> None:
    with pytest.raises(ExportError, match=r"node body_culprit: .* of module body\.culprit"):
        build_deploy_graph(_Outer(culprit))


class _Outer(nn.Module):
    def __init__(self, culprit: nn.Module) -> None:
        super().__init__()
        self.body = _Inner(culprit)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class _AddsOne(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class _AddsScaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, x, alpha=2)


@pytest.mark.parametrize("culprit", [_AddsOne(), _AddsScaled()])
def test_refuses_additions_that_are_not_of_two_tensors(culprit: nn.Module) -> None:
    with pytest.raises(ExportError, match=r"node body_culprit_add: add.* in body\.culprit"):
        build_deploy_graph(_Outer(culprit))


class _Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_control_flow_is_an_export_error() -> None:
    with pytest.raises(ExportError, match=r"torch\.fx can trace"):
        trace(_Branches())


class _TwoImages(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_refuses_a_second_input() -> None:
    with pytest.raises(ExportError, match="one input"):
        build_deploy_graph(_TwoImages())


def test_trace_keeps_a_slope_per_channel() -> None:
    traced = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.PReLU(1)))
    assert [type(module) for module in traced.children()] == [nn.Conv2d, nn.PReLU, nn.LeakyReLU]
