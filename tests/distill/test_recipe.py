from __future__ import annotations

from pathlib import Path

import pytest

from pocketface.distill.recipe import read_recipe, shipped_recipes
from pocketface.runtime.errors import RecipeError

GOOD = """
[model]
architecture = "student"
[ageing]
mix = { mild = 1 }
[[stages]]
steps = 10
batch = 2
crop = 64
rate = [1, 0.5]
losses = { pixel = 1.0 }
[[stages]]
steps = 5
batch = 1
crop = 64
rate = [0.5, 0.0]
losses = { pixel = 1.0 }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_become_what_the_dataclass_says(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD))
    assert recipe.stages[0].rate == (1.0, 0.5)
    assert isinstance(recipe.stages[0].rate[0], float)
    assert recipe.ageing.mix == {"mild": 1.0}
    assert recipe.steps == 15


def test_stages_follow_one_another(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD))
    assert recipe.stage_at(9) == (recipe.stages[0], 1.0)
    assert recipe.stage_at(10) == (recipe.stages[1], 0.0)
    with pytest.raises(RecipeError, match="below 15"):
        recipe.stage_at(15)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("steps = 10", "step = 10", "got step"),
        ("steps = 10\n", "", "no steps"),
        ("steps = 10", 'steps = "ten"', "type int"),
        ("steps = 10", "steps = 0", "positive"),
        ("steps = 10", "steps = true", "type int"),
        ('"student"', '"pupil"', "one of student, teacher"),
        ("mild", "wild", "ageing.mix among"),
        ("pixel", "pixels", "losses among"),
        ("[1, 0.5]", "[1, 0.5, 0]", "rate of two"),
        ("pixel = 1.0 }", "teacher = 1.0 }", "a teacher for the term"),
        ("pixel = 1.0 }", "features = 1.0 }", "a teacher for the term 'features'"),
        ("pixel = 1.0 }", "pixel = 0.0 }", "a weight above 0"),
        (
            "batch = 2\ncrop = 64\nrate = [1, 0.5]\nlosses = { pixel",
            "batch = 1\ncrop = 64\nrate = [1, 0.5]\nlosses = { relational",
            "at least 2",
        ),
        ("[model]", "[critics]\ncover = 1.0\n[model]", "critics.cover"),
        ("[model]", "[optimiser]\naccumulate = 0\n[model]", "accumulate"),
        ("[model]", "[model", "a TOML file"),
        ('"student"', '"student"\npreset = "huge"', "a preset of"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        read_recipe(written(tmp_path, GOOD.replace(old, new, 1)))


def test_unknown_names_list_the_shipped_recipes() -> None:
    with pytest.raises(RecipeError, match="student_base"):
        read_recipe("nonsense")


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_sound(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.steps > 0
    assert recipe.stages[-1].rate[1] < 0.5, "a run should end at a low rate"
