"""What a student sees in training is what its 8-bit files compute, and nothing of it stays behind."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pocketface.distill.degradations import Ageing
from pocketface.distill.quantised import EightBit, Rounding, round_activations, round_kernels
from pocketface.distill.recipe import ModelRecipe, OptimiserRecipe, Recipe, Stage, make_recipe
from pocketface.distill.trainer import AVERAGED, STATE, Progress, Trainer
from pocketface.export.calibration import ActivationRanges, observe_ranges
from pocketface.export.deploy_graph import build_deploy_graph, float_ends_of, tail_of
from pocketface.export.golden import golden_faces
from pocketface.export.quantise import quantise_layer, spread
from pocketface.export.to_tflite import write_tflite
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.errors import RecipeError
from pocketface.runtime.models.checkpoint import load_model
from pocketface.runtime.models.student import StudentConfig, StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer

SHAPE = StudentConfig((8, 16), (1,), 1, (1,))
STAGE = Stage(3, 2, 32, (1.0, 0.5), {"pixel": 1.0})
ROUNDED = dataclasses.replace(STAGE, steps=4, rounding="all")
RECIPE = Recipe(
    ModelRecipe("student", "", SHAPE), Ageing({"mild": 1.0}), (STAGE, ROUNDED), OptimiserRecipe(warmup=2), seed=5
)


@pytest.fixture
def student() -> StudentRestorer:
    """A student with statistics, gains and slopes of all kinds, whose residual is large enough to show errors."""
    torch.manual_seed(7)
    made = StudentRestorer(SHAPE)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.running_mean, module.bias):
                    assert values is not None
                    values.normal_(0, 0.2)
                assert module.running_var is not None
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(-1, 1)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.2, 0.4)
        made.get_parameter("tail.2.weight").mul_(3)
    return made


@pytest.fixture(scope="module")
def faces() -> Tensor:
    coarse = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def trainer(recipe: Recipe, faces: Tensor, folder: Path) -> Trainer:
    return Trainer(recipe, faces, folder, Fabric(accelerator="cpu", devices=1), {})


def trained(recipe: Recipe, faces: Tensor, folder: Path, until: int | None = None) -> list[Progress]:
    seen: list[Progress] = []
    trainer(recipe, faces, folder).run(seen.append, save_every=2, until=until)
    return seen


def node_of(place: str) -> str:
    """The deploy graph's name of a rounded place."""
    joins = {"decoder.0": "add", "encoder.0.0": "encoder_0_0_add", "middle.0": "middle_0_add"}
    for norm, conv in (("bn1", "conv_pw"), ("bn2", "conv_dw"), ("bn3", "conv_pwl")):
        place = place.replace(norm, conv)
    return {**joins, "decoder.0.0": "decoder_0_0_add"}.get(place, place.replace(".", "_"))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.2, 0.9), (-5.0, -1.0), (-1e-3, 1e-3), (0.0, 0.0)])
def test_activations_are_rounded_as_export_rounds_them(low: float, high: float) -> None:
    generator = torch.Generator().manual_seed(1)
    values = (torch.rand(1000, generator=generator) * 1.4 - 0.2) * (high - low + 1e-7) + low
    scale = spread(low, high)
    levels = np.clip(np.rint(values.double().numpy() / scale.scales[0]) + scale.zero_points[0], -128, 127)
    expected = (levels - scale.zero_points[0]) * scale.scales[0]
    found = round_activations(values, torch.tensor(low), torch.tensor(high))
    # float32 computes a step to one part in ten million; another level would be half a percent off
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 6])
def test_kernels_are_rounded_as_export_rounds_them_after_folding(groups: int) -> None:
    torch.manual_seed(2)
    conv, norm = nn.Conv2d(6, 6, 3, groups=groups, bias=False), nn.BatchNorm2d(6).eval()
    assert norm.running_var is not None
    with torch.no_grad():
        norm.weight.uniform_(-1, 1)
        norm.running_var.uniform_(0.1, 3)
    folded = fuse_conv_bn_eval(conv.eval(), norm).weight.detach().numpy()
    expected = quantise_layer(folded, np.zeros(6, np.float32), 0, 1.0)
    gains = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    found = round_kernels(conv.weight.detach(), gains) * gains[:, None, None, None]
    steps = expected.weight_quantization.scales[:, None, None, None]
    # a level is 1: float32's own rounding moves it by a hundred thousandth
    np.testing.assert_allclose(found.numpy() / steps, expected.weights, atol=1e-4)


def test_a_channel_that_is_switched_off_keeps_its_kernel() -> None:
    kernels = torch.randn(2, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    found = round_kernels(kernels, torch.tensor([0.0, 1.0]))
    assert torch.equal(found[0], kernels[0])
    assert not torch.equal(found[1], kernels[1])
    assert torch.isfinite(found).all()


def test_the_gradient_passes_rounding_but_not_clipping() -> None:
    values = torch.tensor([-2.0, -0.5, 0.0, 0.123, 0.999, 1.7], requires_grad=True)
    round_activations(values, torch.tensor(-1.0), torch.tensor(1.0)).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_the_float_weights_get_the_gradient_of_the_rounded_ones(student: StudentRestorer, faces: Tensor) -> None:
    given = faces.permute(0, 3, 1, 2).float() / 255
    before = {name: value.clone() for name, value in student.state_dict().items()}
    eight_bit = EightBit(student.train())
    with eight_bit.at_work("all"):
        rounded = copy.deepcopy(student.state_dict())
        student(given).square().mean().backward()
        moved = [name for name in before if not torch.equal(rounded[name], before[name])]
    assert set(moved) == {name for name in before if name.endswith("weight") and before[name].ndim == 4}
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items()), "nothing stays"
    assert all(module.training for module in student.modules())
    found = {name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None}

    student.zero_grad()
    student.load_state_dict(rounded)
    student.eval()
    student(given).square().mean().backward()
    for name, weight in student.named_parameters():
        assert weight.grad is not None
        # Activations are rounded in the one and not in the other: by so little that both point the same way.
        assert torch.nn.functional.cosine_similarity(weight.grad.flatten(), found[name].flatten(), dim=0) > 0.99, name


def test_an_error_within_leaves_the_student_as_it_was(student: StudentRestorer) -> None:
    before = {name: value.clone() for name, value in student.state_dict().items()}
    eight_bit = EightBit(student.train())
    with pytest.raises(KeyboardInterrupt), eight_bit.at_work("all"):
        raise KeyboardInterrupt
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert student.get_submodule("encoder.0.0.bn1").training
    assert not eight_bit.ranges


def test_nothing_is_rounded_outside_its_stage(student: StudentRestorer, faces: Tensor) -> None:
    given = faces.permute(0, 3, 1, 2).float() / 255
    student.eval()
    with torch.no_grad():
        before = student(given)
        eight_bit = EightBit(student)
        with eight_bit.at_work("none"):
            assert torch.equal(student(given), before)
        with eight_bit.at_work("all"):
            assert not torch.equal(student(given), before)
        assert torch.equal(student(given), before)


def test_what_is_rounded_is_what_export_rounds(student: StudentRestorer, faces: Tensor) -> None:
    """Every node of the deploy graph but those that share a scale; without both float ends where export keeps them."""
    graph = build_deploy_graph(student)
    shared = {"image", "strength", "up_0_1", "tail_3", "output", *tail_of(graph)}
    every = {node.name for node in graph.graph.nodes} - shared
    # The last node of the head is rounded nevertheless: the body reads it as levels.
    body = every - (set(float_ends_of(graph)) - {"encoder_0_0_add"})
    given = faces.permute(0, 3, 1, 2).float() / 255
    cases: tuple[tuple[Rounding, set[str]], ...] = (("all", every), ("body", body))
    for reach, expected in cases:
        eight_bit = EightBit(student.train())
        with torch.no_grad(), eight_bit.at_work(reach):
            student(given)
        assert {node_of(place) for place in eight_bit.ranges} == expected


def test_in_the_body_the_first_block_keeps_its_weights(student: StudentRestorer) -> None:
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with EightBit(student).at_work("body"):
        same = {name for name, value in student.state_dict().items() if torch.equal(value, before[name])}
    kernels = {name for name, value in before.items() if value.ndim == 4}
    assert kernels & same == {name for name in kernels if name.startswith(("stem", "encoder.0."))}


@pytest.mark.parametrize("reach", ["all", "body"])
def test_the_student_sees_what_its_file_computes(student: StudentRestorer, tmp_path: Path, reach: Rounding) -> None:
    """With the same ranges, the rounded student comes much closer to the 8-bit file than to the float student."""
    given = golden_faces(64)[0]
    graph = build_deploy_graph(student)
    ranges = observe_ranges(graph, given, "golden faces")
    write_tflite(graph, 64, "int8", tmp_path / "a.tflite", ranges, keep_float=() if reach == "all" else None)
    by_file = open_restorer(tmp_path / "a.tflite", threads=1)(given)
    eight_bit = EightBit(student.eval())
    with torch.no_grad():
        exact = student(torch.from_numpy(given)).clamp(0, 1).numpy()
        by_rounding = _with_ranges(eight_bit, student, ranges, reach, torch.from_numpy(given))
    found = by_rounding.clamp(0, 1).numpy()
    if reach == "all":  # the file's last addition gives whole grey levels
        found = np.rint(found * 255) / 255
    in_file, in_training = (by_file - exact).ravel(), (found - exact).ravel()
    # Ties and bilinear mixing round differently in integers, and later layers spread that: errors are as large, and
    # mostly the same ones (0.66 and 0.74 here; 0 for two independent roundings).
    assert np.std(in_training) == pytest.approx(np.std(in_file), rel=0.05)
    assert np.corrcoef(in_file, in_training)[0, 1] > 0.5


def _with_ranges(
    eight_bit: EightBit, student: StudentRestorer, ranges: ActivationRanges, reach: Rounding, given: Tensor
) -> Tensor:
    with eight_bit.at_work(reach):
        student(given)  # names the places
    eight_bit.ranges = {place: torch.tensor(ranges.values[node_of(place)]) for place in eight_bit.ranges}
    with eight_bit.at_work(reach):
        return student(given)


def test_statistics_stand_still_while_weights_move(faces: Tensor, tmp_path: Path) -> None:
    loop = trainer(RECIPE, faces, tmp_path)
    loop.run(lambda _: None, save_every=9, until=3)
    live = loop.model.module
    before = {name: value.clone() for name, value in live.state_dict().items()}
    loop.run(lambda _: None, save_every=9)
    after = live.state_dict()
    statistics = {name for name in before if "running" in name or "batches" in name}
    assert statistics
    assert all(torch.equal(after[name], before[name]) for name in statistics)
    assert not any(torch.equal(after[name], before[name]) for name in before if name not in statistics)


def test_a_run_stopped_among_8_bit_steps_goes_on_bit_for_bit(faces: Tensor, tmp_path: Path) -> None:
    whole = trained(RECIPE, faces, tmp_path / "whole")
    begun = trained(RECIPE, faces, tmp_path / "parts", until=5)
    resumed = trained(RECIPE, faces, tmp_path / "parts")
    assert [p.loss for p in begun + resumed] == [p.loss for p in whole]
    states = [torch.load(tmp_path / run / STATE, weights_only=True) for run in ("whole", "parts")]
    assert states[0]["ranges"]
    assert all(torch.equal(states[1]["ranges"][place], pair) for place, pair in states[0]["ranges"].items())
    one, other = (load_model(tmp_path / run / AVERAGED)[0].state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_states_from_before_this_are_gone_on_with(faces: Tensor, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, stages=(STAGE,))
    trained(recipe, faces, tmp_path, until=2)
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state["ranges"]
    written = json.loads(state["recipe"])
    for stage in written["stages"]:
        del stage["rounding"]
    torch.save({**state, "recipe": json.dumps(written, sort_keys=True)}, tmp_path / STATE)
    assert [step.step for step in trained(recipe, faces, tmp_path)] == [3]


def values(rounding: object, model: dict[str, object]) -> dict[str, object]:
    stage = {"steps": 1, "batch": 1, "crop": 32, "rate": [1, 1], "losses": {"pixel": 1.0}, "rounding": rounding}
    return {"model": model, "ageing": {"mix": {"mild": 1}}, "stages": [stage]}


@pytest.mark.parametrize(
    ("rounding", "model", "complaint"),
    [
        ("bodies", {"architecture": "student"}, "one of none, body, all, got 'bodies'"),
        (8, {"architecture": "student"}, "one of none, body, all, got 8"),
        ("all", {"architecture": "teacher"}, "a student where a stage rounds"),
        ("all", {"architecture": "student", "preset": "", "student": {"attention": True}}, "no attention where"),
        ("body", {"architecture": "student", "preset": "", "student": {"activation": "relu"}}, "'prelu'"),
    ],
)
def test_mistakes_are_named(rounding: object, model: dict[str, object], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        make_recipe(values(rounding, model), "recipe")


def test_only_students_are_rounded() -> None:
    with pytest.raises(RecipeError, match="TeacherRestorer"):
        EightBit(TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))))
