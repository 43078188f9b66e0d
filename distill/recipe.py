"""Training recipes: TOML files that become frozen dataclasses, where an unknown key is an error."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from ..runtime.errors import RecipeError
from ..runtime.faces.degrade import LEVELS
from ..runtime.models.student import STUDENT_PRESETS, StudentConfig
from .critics import CriticsRecipe
from .degradations import Ageing
from .losses import CRITIC_TERMS, INNER_TERMS, TEACHER_TERMS, TERMS
from .quantised import Rounding, check_shape


@dataclass(frozen=True)
class ModelRecipe:
    """What is trained.

    Args:
        architecture: `student` or `teacher`.
        preset: the student's size, for a student; empty takes the shape under `student`.
        student: a shape of your own.
        channels: the teacher's widths, for a teacher; empty takes its defaults.
        start: checkpoint whose weights to begin with, by shipped name or path; empty for seeded random ones. A
            student may begin with one of another size: see `resize`.
    """

    architecture: Literal["student", "teacher"]
    preset: str = "base"
    student: StudentConfig = field(default_factory=StudentConfig)
    channels: tuple[int, ...] = ()
    start: str = ""


@dataclass(frozen=True)
class OptimiserRecipe:
    """AdamW and the average that ships.

    Args:
        learning_rate: at rate 1.
        warmup: steps over which the rate rises from 0.
        clip: largest norm of the gradient.
        ema: decay of the exponential moving average of the weights, a step.
        accumulate: batches whose gradients are added up before a step is taken, where memory holds no larger batch.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    betas: tuple[float, ...] = (0.9, 0.99)
    warmup: int = 200
    clip: float = 1.0
    ema: float = 0.999
    accumulate: int = 1


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one setting.

    Args:
        steps: how long.
        batch: faces a step.
        crop: side of the square that is cut out of each face; the face's own side trains on whole faces.
        rate: learning-rate factor at the beginning and the end; a half cosine leads from one to the other.
        losses: weight of each named term. A stage that names an adversarial term with weight 0 lets the critics learn
            while the restorer does not listen to them yet.
        rounding: train a student on what its 8-bit files compute, with the statistics of BatchNorm at rest: `body` as
            in the usual int8 file, whose first block and last addition stay float, `all` as in one without any floats.
    """

    steps: int
    batch: int
    crop: int
    rate: tuple[float, ...]
    losses: Mapping[str, float]
    rounding: Rounding = "none"


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Args:
        seed: decides the first weights and, with the step's number, everything drawn in that step.
        teacher: whom the student follows: anything that `teachers.open_teacher` opens; empty for none.
        teacher_confidence: follow the teacher only as far as it removes the input's error, place by place, and the
            truth for the rest.
        identity: network of the identity term: `dlib` or a checkpoint by shipped name or path.
        perceptual: network of the perceptual term: a `mobilefacenet` by shipped name or path, or `vgg19=FILE`.
        critics: of the adversarial terms.
    """

    model: ModelRecipe
    ageing: Ageing
    stages: tuple[Stage, ...]
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    seed: int = 0
    teacher: str = ""
    teacher_confidence: bool = False
    identity: str = "identity"
    perceptual: str = "identity"
    critics: CriticsRecipe = field(default_factory=CriticsRecipe)

    @property
    def student(self) -> StudentConfig:
        """The shape of the student that is trained."""
        return STUDENT_PRESETS[self.model.preset] if self.model.preset else self.model.student

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, float]:
        """The stage of a step and the learning-rate factor's place in it, from 0 to 1."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step / max(1, stage.steps - 1)
            step -= stage.steps
        raise RecipeError(f"a step below {self.steps}", str(step))

    def wants(self, *terms: str) -> bool:
        """Whether any stage gives any of these terms a weight."""
        return any(stage.losses.get(term, 0) for stage in self.stages for term in terms)

    @property
    def rounds(self) -> bool:
        """Whether any stage trains on what 8-bit files compute."""
        return any(stage.rounding != "none" for stage in self.stages)

    @property
    def adversarial_terms(self) -> list[str]:
        """The terms for which critics learn in some stage, with or without a weight."""
        return [term for term in CRITIC_TERMS if any(term in stage.losses for stage in self.stages)]


def read_recipe(source: str | Path) -> Recipe:
    """Read a recipe by the name of a shipped one (`student_base`) or by path.

    Raises:
        RecipeError: no such recipe, not TOML, an unknown or missing key, or a value that cannot work.
    """
    path = Path(source)
    shipped = resources.files(__package__ or "").joinpath("recipes", f"{source}.toml")
    try:
        text = path.read_text(encoding="utf-8") if path.suffix == ".toml" else shipped.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"a .toml file or one of {', '.join(shipped_recipes())}", f"'{source}'") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("a TOML file", f"{source}: {error}") from error
    return make_recipe(values, str(source))


def make_recipe(values: Mapping[str, Any], place: str) -> Recipe:
    """Build a recipe from TOML values; `place` names it in errors.

    Raises:
        RecipeError: an unknown or missing key, or a value that cannot work.
    """
    recipe = typing.cast("Recipe", build(Recipe, values, place))
    _check(recipe)
    return recipe


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files(__package__ or "").joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def build(kind: Any, value: Any, place: str) -> Any:
    """Build a value of an annotated type from TOML values; `place` names it in errors."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast("type[Any]", kind), value, place)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(build(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(_of(list, value, place)))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: build(arguments[1], item, f"{place}.{key}") for key, item in _of(dict, value, place).items()}
    if origin is Literal:
        if value not in arguments:
            raise RecipeError(f"{place} to be one of {', '.join(map(str, arguments))}", repr(value))
        return value
    return float(_of((int, float), value, place)) if kind is float else _of(kind, value, place)


def _build_dataclass(kind: type[Any], value: Any, place: str) -> Any:
    hints = typing.get_type_hints(kind)
    given = _of(dict, value, place)
    unknown = sorted(set(given) - set(hints))
    if unknown:
        raise RecipeError(f"{place} with keys among {', '.join(hints)}", ", ".join(unknown))
    required = [
        item.name
        for item in dataclasses.fields(kind)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in given]
    if missing:
        raise RecipeError(f"{place} with the keys {', '.join(required)}", f"no {', '.join(missing)}")
    return kind(**{key: build(hints[key], item, f"{place}.{key}") for key, item in given.items()})


def _of(kind: type[Any] | tuple[type[Any], ...], value: Any, place: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = " or ".join(k.__name__ for k in kind) if isinstance(kind, tuple) else kind.__name__
        raise RecipeError(f"{place} of type {wanted}", f"{type(value).__name__} {value!r}")
    return value


def _check(recipe: Recipe) -> None:
    _require(bool(recipe.stages), "at least one stage", "none")
    for index, stage in enumerate(recipe.stages):
        here = f"stages[{index}]"
        unknown = sorted(set(stage.losses) - set(TERMS))
        _require(not unknown, f"{here}.losses among {', '.join(TERMS)}", ", ".join(unknown))
        _require(min(stage.steps, stage.batch, stage.crop) > 0, f"{here} with positive numbers", str(stage))
        _require(len(stage.rate) == 2, f"{here}.rate of two numbers", str(stage.rate))
        alone = bool(stage.losses.get("relational")) and stage.batch < 2
        _require(not alone, f"{here}.batch of at least 2 for the term 'relational'", str(stage.batch))
        _require(any(stage.losses.values()), f"{here}.losses with a weight above 0", str(dict(stage.losses)))
    unknown = sorted(set(recipe.ageing.mix) - set(LEVELS))
    _require(
        not unknown and bool(recipe.ageing.mix), f"ageing.mix among {', '.join(LEVELS)}", ", ".join(unknown) or "none"
    )
    _require(recipe.optimiser.accumulate > 0, "optimiser.accumulate of at least 1", str(recipe.optimiser.accumulate))
    _require(0 <= recipe.critics.cover < 1, "critics.cover in [0, 1)", str(recipe.critics.cover))
    counts = (recipe.critics.channels, recipe.critics.layers, recipe.critics.scales, recipe.critics.r1_every)
    _require(min(counts) > 0, "critics with positive channels, layers, scales and r1_every", str(min(counts)))
    _require(recipe.critics.r1 >= 0, "critics.r1 of at least 0", str(recipe.critics.r1))
    known = not recipe.model.preset or recipe.model.preset in STUDENT_PRESETS
    _require(known, f"a preset of {', '.join(STUDENT_PRESETS)}", recipe.model.preset)
    led = ", ".join(term for term in TEACHER_TERMS if recipe.wants(term))
    _require(bool(recipe.teacher) or not led, f"a teacher for the term {led!r}", "none")
    student = recipe.model.architecture == "student"
    _require(student or not recipe.wants(*INNER_TERMS), f"a student for {' and '.join(INNER_TERMS)}", "a teacher")
    _require(student or not recipe.rounds, "a student where a stage rounds to 8 bits", "a teacher")
    if recipe.rounds:
        check_shape(recipe.student)


def _require(holds: bool, expected: str, got: str) -> None:  # noqa: FBT001 - reads as a sentence where it is called
    if not holds:
        raise RecipeError(expected, got)
