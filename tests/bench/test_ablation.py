"""An ablation gives every run the same budget, changes one thing, and is judged as a whole."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from pocketface.bench.ablation import add_arguments, read_plan, run, seconds_of
from pocketface.bench.deployed_speed import time_shapes
from pocketface.runtime.errors import InputError, RecipeError
from pocketface.runtime.models.student import StudentConfig, StudentRestorer

from .fakes import save_crops

PLAN = """
title = "Two shapes"
[recipe]
seed = 5
[recipe.model]
architecture = "student"
preset = ""
[recipe.model.student]
channels = [8, 16]
encoder_blocks = [1]
middle_blocks = 1
decoder_blocks = [1]
[recipe.ageing]
mix = { medium = 1.0 }
[[recipe.stages]]
steps = 2
batch = 2
crop = 32
rate = [1.0, 0.1]
losses = { pixel = 1.0, gradient = 0.1 }
[[runs]]
name = "plain"
says = "as it is"
[[runs]]
name = "attentive"
says = "with attention"
change = { model = { student = { attention = true } }, stages = [{ losses = { pixel = 1.0 } }] }
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


@pytest.mark.parametrize(("name", "runs"), [("shapes", 12), ("lessons", 13), ("blocks", 8)])
def test_shipped_plans_give_every_run_the_same_faces_but_where_the_row_says_so(name: str, runs: int) -> None:
    plan = read_plan(name, "half.safetensors" if name == "lessons" else "")
    assert len(plan.runs) == runs
    first = plan.runs[0].recipe.stages[0]
    for one in plan.runs:
        (stage,) = one.recipe.stages
        assert (stage.steps, stage.batch, stage.crop) == (first.steps, first.batch, first.crop) or "longer" in one.name
    assert any(one.recipe.seed != plan.runs[0].recipe.seed for one in plan.runs)  # noise must be known


def test_a_change_replaces_the_losses_and_keeps_the_rest(plan: Path) -> None:
    plain, attentive = read_plan(str(plan)).runs
    assert dict(plain.recipe.stages[0].losses) == {"pixel": 1.0, "gradient": 0.1}
    assert dict(attentive.recipe.stages[0].losses) == {"pixel": 1.0}
    assert attentive.recipe.stages[0].steps == 2
    assert attentive.recipe.student == StudentConfig((8, 16), (1,), 1, (1,), attention=True)


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ('name = "attentive"', 'name = "plain"', InputError, "a name of their own"),
        ('says = "with attention"', "", InputError, "a name of their own"),
        ('title = "Two shapes"', "", InputError, "title, recipe and runs"),
        ("attention = true", "atention = true", RecipeError, "atention"),
        ("[recipe]", "[recipe", InputError, "a TOML file"),
    ],
)
def test_a_plan_with_a_slip_is_refused_by_name(
    plan: Path, old: str, new: str, error: type[Exception], said: str
) -> None:
    plan.write_text(PLAN.replace(old, new))
    with pytest.raises(error, match=said):
        read_plan(str(plan))


def test_a_plan_is_trained_judged_and_gone_on_with(plan: Path, tmp_path: Path) -> None:
    crops, folder = tmp_path / "crops", tmp_path / "out"
    save_crops(crops, {"one": "train", "two": "train", "three": "validation"})
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = [str(plan), "--crops", str(crops), "-o", str(folder), "--every", "1", "--threads", "1"]
    threads = torch.get_num_threads()
    try:
        assert run(parser.parse_args([*words, "--only", "plain"])) == 0
        assert not (folder / "attentive").exists()
        taken = seconds_of(folder / "plain")
        assert run(parser.parse_args(words)) == 0
    finally:
        torch.set_num_threads(threads)
    assert seconds_of(folder / "plain") == taken > 0  # nothing was trained again
    rows = json.loads((folder / "ablation.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["plain", "attentive"]
    assert [row["faces"] for row in rows] == [4, 4]
    assert rows[0]["milliseconds"] > 0
    assert "(+0.00)" in (folder / "ablation.md").read_text() or "(-0.00)" in (folder / "ablation.md").read_text()


def test_runs_that_the_plan_lacks_are_refused(plan: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(InputError, match="plain, attentive"):
        run(parser.parse_args([str(plan), "--crops", str(tmp_path), "-o", str(tmp_path / "o"), "--only", "plian"]))


def test_equal_shapes_are_timed_once_and_a_larger_one_takes_longer() -> None:
    small, large = StudentConfig((8, 16), (1,), 1, (1,)), StudentConfig((64, 128), (2,), 4, (2,), attention=True)
    models = {"a": StudentRestorer(small), "b": StudentRestorer(small), "c": StudentRestorer(large)}
    taken = time_shapes(models, rounds=3)
    assert taken["a"] == taken["b"]
    assert taken["c"] > taken["a"]  # thirty times the work
