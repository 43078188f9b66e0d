"""What a user may wish for a photograph: one frozen record of plain values, checked when it is made.

It holds no network and no array, so that it can be pickled to a worker, compared, and written into a record.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .errors import ContractError, InputError

CHOICES = ("all", "largest", "surest", "central", "left", "right", "top", "bottom", "reference")
TURNS = ("auto", "always", "never")
HIDDEN = ("lower", "skip", "ignore")
BLENDS = ("feather", "poisson")
COLOURS = ("keep", "balance", "revive")
ANONYMISE = ("nobody", "others", "all")
UPSCALES = (1, 2, 4)


@dataclass(frozen=True)
class Look:
    """How far restored faces go, and the tone that is laid over them.

    Args:
        strength: of the restorer's change, [0, 1]: inside the exported graph, which takes it as an input.
        sharpness: how much of the finest detail of luma is added, [0, 1]; 1 adds 1.2 times what is there.
        contrast: how much of the coarse detail of luma is added, [0, 1]: cheeks and brows come forward.
        grade: the whole photograph is graded after all faces are in it.
    """

    strength: float
    sharpness: float = 0.0
    contrast: float = 0.0
    grade: bool = False


# What each is worth is in docs/looks.md.
LOOKS = {
    "natural": Look(0.8),  # keeps a fifth of the skin's own grain, which an average of all likely faces has not
    "clear": Look(1.0, sharpness=0.35, contrast=0.18),
    "cinematic": Look(0.9, sharpness=0.15, contrast=0.08, grade=True),
}
STYLES = tuple(LOOKS)


@dataclass(frozen=True)
class PhotoOptions:
    """Everything that `restore_photo` can be asked for; the defaults restore all faces and touch nothing else.

    Args:
        strength: how much of the restorer's change is applied, [0, 1]; None takes the style's.
        size: side of the aligned crops; None takes the restorer's native size.
        choose: which faces: `all`, or the first `count` by size (`largest`), by the detector's score (`surest`), by
            place (`central`, `left`, `right`, `top`, `bottom`), or by likeness to `reference`.
        count: at most so many of them; None is no limit for `all` and 1 for the others.
        reference: photograph of the person that `choose="reference"` means; its largest face counts.
        alike: least cosine between a face and the reference's for the two to be the same person, [-1, 1].
        smallest: faces with a shorter side of the box, in pixels, are left alone.
        score: faces that the detector gave less are left alone, [0, 1].
        turned: look also for faces that lie or stand on their head: `auto` where none is upright, `always` or `never`.
        hidden: what to do with a face of which more than 30 % seems covered: `lower` the strength, `skip`, `ignore`.
        guard: least cosine of identity between the face before and after; a face below it is restored more weakly
            until it passes, or left as it was. None measures nothing.
        blend: how a face is joined to its photograph: `feather` (a soft mask) or `poisson` (gradients).
        match_colour: give the restored face the mean colour and contrast of the given one.
        upscale: factor by which the photograph grows, 1, 2 or 4.
        upscaler: file of a super-resolution network for it; None resamples by a classical filter.
        style: `natural`, `clear` or `cinematic`: a preset of strength and tone, see `LOOKS`.
        sharpness: of the restored faces, [0, 1], on top of the style.
        saturation: of skin in the restored faces, [0, 2]; 1 leaves it.
        colour: of the whole photograph: `keep`, `balance` (white balance) or `revive` (and fading undone).
        colouriser: `.onnx` file of a network that colours grey photographs, or None.
        anonymise: faces that are made unrecognisable for good: `nobody`, the `others` who were not chosen, or `all`.

    Raises:
        InputError: a name that is none of these, or wishes that contradict each other.
        ContractError: a number outside its range.
    """

    strength: float | None = None
    size: int | None = None
    choose: str = "all"
    count: int | None = None
    reference: Path | None = None
    alike: float = 0.8
    smallest: float = 0.0
    score: float = 0.0
    turned: str = "auto"
    hidden: str = "lower"
    guard: float | None = 0.75
    blend: str = "feather"
    match_colour: bool = False
    upscale: int = 1
    upscaler: Path | None = None
    style: str = "natural"
    sharpness: float = 0.0
    saturation: float = 1.0
    colour: str = "keep"
    colouriser: Path | None = None
    anonymise: str = "nobody"

    def __post_init__(self) -> None:
        self._check_names()
        for name, low, high in (
            ("strength", 0, 1), ("guard", -1, 1), ("alike", -1, 1), ("score", 0, 1), ("sharpness", 0, 1),
            ("saturation", 0, 2), ("smallest", 0, math.inf),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # written so that NaN fails too
                raise ContractError(f"a {name} in [{low}, {high}]", f"{value:g}")
        if self.count is not None and self.count < 1:
            raise ContractError("a count of at least 1", str(self.count))
        if (self.choose == "reference") != (self.reference is not None):
            raise InputError("a reference photograph and choose='reference' together", "one of the two")
        if self.upscaler is not None and self.upscale == 1:
            raise InputError(
                "an upscale of 2 or 4 with an upscaler", "1", "ask for a factor, or leave the upscaler out"
            )

    def _check_names(self) -> None:
        for name, known in (
            ("choose", CHOICES), ("turned", TURNS), ("hidden", HIDDEN), ("blend", BLENDS), ("upscale", UPSCALES),
            ("style", STYLES), ("colour", COLOURS), ("anonymise", ANONYMISE),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name} of {', '.join(map(str, known))}", f"'{value}'")

    @property
    def look(self) -> Look:
        """The style's look, with the strength and sharpness of these options."""
        look = LOOKS[self.style]
        strength = look.strength if self.strength is None else self.strength
        return replace(look, strength=strength, sharpness=min(1.0, look.sharpness + self.sharpness))

    def to_json(self) -> dict[str, object]:
        """All wishes as plain values for a record; equal options give equal records."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


DEFAULT = PhotoOptions()
