from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from pocketface.distill import task as task_module
from pocketface.distill.ahead import Ahead
from pocketface.distill.clock import SECTIONS
from pocketface.distill.critics import CriticsRecipe
from pocketface.distill.degradations import Ageing
from pocketface.distill.recipe import ModelRecipe, OptimiserRecipe, Recipe, Stage
from pocketface.distill.task import RestorationTask
from pocketface.distill.teacher_cache import CachedTeacher
from pocketface.distill.trainer import AVERAGED, LOG, STATE, Progress, Speed, Trainer, learning_rate_factor
from pocketface.runtime.errors import CheckpointError, RecipeError
from pocketface.runtime.models.checkpoint import load_model, save_checkpoint
from pocketface.runtime.models.identity import MobileFaceNet
from pocketface.runtime.models.student import STUDENT_PRESETS, StudentConfig, StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer

TINY = StudentConfig((8, 16), (1,), 1, (1,))
STAGE = Stage(6, 2, 32, (1.0, 0.1), {"pixel": 1.0, "gradient": 0.1})
RECIPE = Recipe(
    ModelRecipe("student"), Ageing({"mild": 1.0, "x4": 1.0}, grey=0.2), (STAGE,), OptimiserRecipe(warmup=2), seed=5
)


@pytest.fixture(autouse=True)
def tiny_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDENT_PRESETS, "base", TINY)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    coarse = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def trained(recipe: Recipe, faces: torch.Tensor, folder: Path, until: int | None = None) -> list[Progress]:
    seen: list[Progress] = []
    fabric = Fabric(accelerator="cpu", devices=1)
    Trainer(recipe, faces, folder, fabric, {"data": "made here"}).run(seen.append, save_every=2, until=until)
    return seen


def test_a_killed_run_goes_on_bit_for_bit(faces: torch.Tensor, tmp_path: Path) -> None:
    whole = trained(RECIPE, faces, tmp_path / "whole")
    begun = trained(RECIPE, faces, tmp_path / "parts", until=4)
    resumed = trained(RECIPE, faces, tmp_path / "parts")
    assert [(p.step, p.loss) for p in begun + resumed] == [(p.step, p.loss) for p in whole]
    one, other = (load_model(tmp_path / run / AVERAGED)[0].state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


ADVERSARIAL = dataclasses.replace(
    RECIPE,
    stages=(
        dataclasses.replace(STAGE, steps=3, crop=64, losses={"pixel": 1.0, "adversarial": 0.0, "components": 0.0}),
        dataclasses.replace(STAGE, steps=4, crop=64, losses={"pixel": 1.0, "adversarial": 0.1, "components": 0.1}),
    ),
    critics=CriticsRecipe(channels=8, layers=2),
    optimiser=OptimiserRecipe(warmup=2, accumulate=2),
)


def test_an_adversarial_run_goes_on_bit_for_bit(faces: torch.Tensor, tmp_path: Path) -> None:
    whole = trained(ADVERSARIAL, faces, tmp_path / "whole")
    begun = trained(ADVERSARIAL, faces, tmp_path / "parts", until=4)
    resumed = trained(ADVERSARIAL, faces, tmp_path / "parts")
    assert [(p.step, p.loss, p.terms) for p in begun + resumed] == [(p.step, p.loss, p.terms) for p in whole]
    assert set(whole[0].terms) == {"pixel", "critics", "critics_gap"}, "critics learn before the restorer listens"
    assert set(whole[-1].terms) == {"pixel", "adversarial", "components", "critics", "critics_gap"}


def test_a_run_killed_without_warning_goes_on_bit_for_bit(faces: torch.Tensor, tmp_path: Path) -> None:
    """kill -9 between two states: the steps since the last one are taken again, with the same losses."""
    folder = tmp_path / "killed"
    torch.save(faces, tmp_path / "faces.pt")
    # The number of threads decides in which order sums are taken, and whoever ran here before may have changed it.
    threads = torch.get_num_threads()
    program = _PROGRAM.format(test=__file__, faces=str(tmp_path / "faces.pt"), folder=str(folder), threads=threads)
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own interpreter
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "5":  # states are saved at steps 2 and 4
            process.kill()
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    whole = trained(RECIPE, faces, tmp_path / "whole")
    resumed = trained(RECIPE, faces, folder)
    assert [(p.step, p.loss) for p in resumed] == [(p.step, p.loss) for p in whole[4:]]


_PROGRAM = """
import importlib.util, time, torch
from pathlib import Path
from lightning_fabric import Fabric
torch.set_num_threads({threads})
spec = importlib.util.spec_from_file_location("test_trainer", {test!r})
tests = importlib.util.module_from_spec(spec); spec.loader.exec_module(tests)
tests.STUDENT_PRESETS["base"] = tests.TINY
def report(progress):
    print(progress.step, flush=True)
    if progress.step == 5:
        time.sleep(60)
faces = torch.load({faces!r}, weights_only=True)
loop = tests.Trainer(tests.RECIPE, faces, Path({folder!r}), Fabric(accelerator="cpu", devices=1), {{}})
loop.run(report, save_every=2)
"""


def test_two_halves_add_up_to_a_batch(faces: torch.Tensor, tmp_path: Path) -> None:
    """Without BatchNorm's statistics in the way: gradients of two accumulated batches are the mean of both."""
    recipe = dataclasses.replace(RECIPE, optimiser=OptimiserRecipe(warmup=0, accumulate=2))
    loop = Trainer(recipe, faces, tmp_path, Fabric(accelerator="cpu", devices=1), {})
    loop.model.eval()
    stage = recipe.stages[0]
    separate = []
    for number in (0, 1):
        batch = loop.task.draw(stage, number)
        terms = loop.task.terms(stage.losses, loop.task.restore(loop.model, batch), batch)
        loss = stage.losses["pixel"] * terms["pixel"] + stage.losses["gradient"] * terms["gradient"]
        separate.append(torch.autograd.grad(loss, list(loop.model.parameters())))
    with Ahead(loop._draw, active=False) as batches:
        for part in (0, 1):
            loop._learn(stage, part, 1.0, batches)
    # 1e-6: the same sums in another order
    assert all(
        torch.allclose(weight.grad, (one + other) / 2, atol=1e-6)
        for weight, one, other in zip(loop.model.parameters(), *separate, strict=True)
        if weight.grad is not None
    )


def test_drawing_ahead_changes_nothing(faces: torch.Tensor, tmp_path: Path) -> None:
    runs = []
    for ahead in (False, True):
        seen: list[Progress] = []
        fabric = Fabric(accelerator="cpu", devices=1)
        Trainer(RECIPE, faces, tmp_path / str(ahead), fabric, {}, Speed(ahead=ahead)).run(seen.append, save_every=9)
        runs.append([progress.loss for progress in seen])
    assert runs[0] == runs[1]


def test_the_log_says_where_the_time_goes(faces: torch.Tensor, tmp_path: Path) -> None:
    step = trained(RECIPE, faces, tmp_path, until=1)[0]
    assert set(step.seconds) == set(SECTIONS)
    assert min(step.seconds[name] for name in ("data", "forward", "backward", "update")) > 0
    assert sum(step.seconds.values()) <= RECIPE.stages[0].batch / step.faces_per_second


def test_training_lowers_the_loss(faces: torch.Tensor, tmp_path: Path) -> None:
    longer = dataclasses.replace(RECIPE, stages=(dataclasses.replace(STAGE, steps=60),))
    seen = trained(longer, faces, tmp_path)
    # Steps draw different faces and levels, so ends are compared as means of twenty.
    assert sum(p.loss for p in seen[-20:]) < 0.97 * sum(p.loss for p in seen[:20])
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert set(lines[0]["terms"]) == {"pixel", "gradient"}


def test_another_recipe_does_not_take_over_a_run(faces: torch.Tensor, tmp_path: Path) -> None:
    trained(RECIPE, faces, tmp_path, until=2)
    with pytest.raises(RecipeError, match="begun with"):
        trained(dataclasses.replace(RECIPE, seed=6), faces, tmp_path)


def test_a_damaged_state_is_named(faces: torch.Tensor, tmp_path: Path) -> None:
    trained(RECIPE, faces, tmp_path, until=2)
    state = tmp_path / STATE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="whole training state"):
        trained(RECIPE, faces, tmp_path)


def test_what_training_listens_to_does_not_move(faces: torch.Tensor, tmp_path: Path) -> None:
    """Teacher, identity network and feature network: not in one statistic, though all are sent to train."""
    torch.manual_seed(0)
    save_checkpoint(
        tmp_path / "teacher.safetensors", TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))), training={}
    )
    save_checkpoint(tmp_path / "identity.safetensors", MobileFaceNet(), training={})
    weights = dict.fromkeys(("pixel", "teacher", "identity", "perceptual"), 1.0)
    known = str(tmp_path / "identity.safetensors")
    stage = dataclasses.replace(STAGE, crop=64, losses=weights)
    recipe = dataclasses.replace(
        RECIPE, teacher=str(tmp_path / "teacher.safetensors"), identity=known, perceptual=known, stages=(stage,)
    )
    loop = Trainer(recipe, faces, tmp_path / "run", Fabric(accelerator="cpu", devices=1), {})
    listened = {"teacher": loop.task.teacher, "identity": loop.task.identity, "perceptual": loop.task.features}
    around = torch.nn.ModuleDict({name: part for name, part in listened.items() if isinstance(part, torch.nn.Module)})
    assert set(around) == set(listened)
    before = {name: value.clone() for name, value in around.state_dict().items()}
    assert all(any(f"{part}." in name and "running_mean" in name for name in before) for part in listened)
    around.train()
    for part in around.values():
        part.train()
    loop.model.train()
    loop.run(lambda _: None, save_every=10)
    assert not any(module.training for part in around.values() for module in part.modules())
    assert not any(weight.requires_grad or weight.grad is not None for weight in around.parameters())
    assert [name for name, value in around.state_dict().items() if not torch.equal(value, before[name])] == []


def test_every_lesson_of_a_teacher_is_learnt_and_resumed(faces: torch.Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))), training={})
    network = tmp_path / "identity.safetensors"
    save_checkpoint(network, MobileFaceNet(), training={})
    weights = dict.fromkeys(("teacher", "features", "attention", "identity_teacher", "relational"), 0.5)
    recipe = dataclasses.replace(
        RECIPE,
        teacher=str(path),
        teacher_confidence=True,
        identity=str(network),
        stages=(dataclasses.replace(STAGE, steps=4, crop=64, losses=weights),),
    )
    whole = trained(recipe, faces, tmp_path / "whole")
    begun = trained(recipe, faces, tmp_path / "parts", until=2)
    resumed = trained(recipe, faces, tmp_path / "parts")
    assert set(whole[0].terms) == set(weights)
    assert [(p.loss, p.terms) for p in begun + resumed] == [(p.loss, p.terms) for p in whole]


def test_a_cached_teacher_says_the_same_to_the_next_student(faces: torch.Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))), training={})
    recipe = dataclasses.replace(
        RECIPE, teacher=str(path), stages=(dataclasses.replace(STAGE, crop=64, losses={"teacher": 1.0}),)
    )
    runs: list[list[Progress]] = []
    for name in ("first", "second"):
        loop = Trainer(
            recipe, faces, tmp_path / name, Fabric(accelerator="cpu", devices=1), {}, teacher_cache=tmp_path / "said"
        )
        loop.run((seen := list[Progress]()).append, save_every=9)
        runs.append(seen)
        assert isinstance(loop.task.teacher, CachedTeacher)
    assert loop.task.teacher.misses == 0
    assert [step.loss for step in runs[0]] == [step.loss for step in runs[1]]


def test_maps_are_not_read_off_a_teacher_that_is_not_at_work(faces: torch.Tensor, tmp_path: Path) -> None:
    stage = dataclasses.replace(STAGE, crop=64, losses={"features": 1.0})
    recipe = dataclasses.replace(RECIPE, teacher="teacher", stages=(stage,))
    with pytest.raises(RecipeError, match="no cache with features"):
        RestorationTask(recipe, faces, tmp_path)


def test_the_guide_of_a_teacher_in_training_stays_in_eval() -> None:
    teacher = TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,))).train()
    assert teacher.training
    assert not any(module.training for module in teacher.guide.modules())
    assert not any(weight.requires_grad for weight in teacher.guide.parameters())


def test_identity_needs_whole_faces(faces: torch.Tensor) -> None:
    stage = dataclasses.replace(STAGE, losses={"identity": 1.0})
    with pytest.raises(RecipeError, match="whole faces"):
        RestorationTask(dataclasses.replace(RECIPE, stages=(stage,)), faces)


def test_the_rate_rises_then_falls() -> None:
    settings = OptimiserRecipe(warmup=10)
    assert learning_rate_factor(settings, (1.0, 0.1), 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_factor(settings, (1.0, 0.1), 50, 0.5) == pytest.approx(0.55)
    assert learning_rate_factor(settings, (1.0, 0.1), 99, 1.0) == pytest.approx(0.1)


def test_the_header_names_files_but_no_folders(faces: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "first.safetensors"
    save_checkpoint(path, StudentRestorer(TINY), training={"steps": 3})
    recipe = dataclasses.replace(RECIPE, model=ModelRecipe("student", start=str(path)))
    trained(recipe, faces, tmp_path / "run", until=2)
    _, info = load_model(tmp_path / "run" / AVERAGED)
    assert info.training["recipe"]["model"]["start"] == "first.safetensors"
    assert info.training["began_with"] == {"steps": 3}, "a run tells what went before it"
    assert str(tmp_path) not in json.dumps(info.training)


def test_a_start_gives_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = StudentRestorer(TINY)
    path = tmp_path / "start.safetensors"
    save_checkpoint(path, model, training={})
    recipe = dataclasses.replace(RECIPE, model=ModelRecipe("student", start=str(path)))
    assert all(
        torch.equal(value, model.state_dict()[name])
        for name, value in task_module.build_model(recipe)[0].state_dict().items()
    )
