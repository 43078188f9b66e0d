"""The words by which a command line states `PhotoOptions`; every command that restores photographs takes them."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import ANONYMISE, BLENDS, CHOICES, COLOURS, DEFAULT, HIDDEN, LOOKS, STYLES, TURNS, UPSCALES, PhotoOptions

_NO_GUARD = "off"


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one argument for each of the options, with the defaults of `PhotoOptions`."""
    _add_faces(parser.add_argument_group("which faces"))
    _add_treatment(parser.add_argument_group("what is done to them"))
    _add_photograph(parser.add_argument_group("the whole photograph"))


def options_from(arguments: argparse.Namespace) -> PhotoOptions:
    """Gather the options that a command line states.

    Raises:
        InputError: wishes that contradict each other.
        ContractError: a number outside its range.
    """
    choose = arguments.choose
    if choose is None:
        choose = "all" if arguments.reference is None else "reference"
    return PhotoOptions(
        strength=arguments.strength,
        choose=choose,
        count=arguments.count,
        reference=arguments.reference,
        alike=arguments.alike,
        smallest=arguments.smallest,
        score=arguments.score,
        turned=arguments.turned,
        hidden=arguments.hidden,
        guard=arguments.guard,
        blend=arguments.blend,
        match_colour=arguments.match_colour,
        upscale=arguments.upscale,
        upscaler=arguments.upscaler,
        style=arguments.style,
        sharpness=arguments.sharpness,
        saturation=arguments.saturation,
        colour=arguments.colour,
        colouriser=arguments.colouriser,
        anonymise=arguments.anonymise,
    )


def _add_faces(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--choose", choices=CHOICES, help="all (default), or the first --count by size, score, place or likeness"
    )
    group.add_argument("--count", type=int, help="at most so many faces (default: 1, for all: no limit)")
    group.add_argument("--reference", type=Path, metavar="PHOTO", help="restore the person whom this photograph shows")
    group.add_argument(
        "--alike", type=float, default=DEFAULT.alike, help="least cosine to be that person (default: %(default)s)"
    )
    group.add_argument(
        "--smallest", type=float, default=DEFAULT.smallest, metavar="PIXELS", help="leave smaller faces alone"
    )
    group.add_argument(
        "--score", type=float, default=DEFAULT.score, help="leave faces alone that the detector gave less"
    )
    group.add_argument(
        "--turned", choices=TURNS, default=DEFAULT.turned,
        help="look for faces on their side or head: where none is upright (auto, default), always or never",
    )  # fmt: skip
    group.add_argument(
        "--anonymise", choices=ANONYMISE, default=DEFAULT.anonymise,
        help="make the others, or all, unrecognisable for good, in EXIF too (default: %(default)s)",
    )  # fmt: skip


def _add_treatment(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--strength", type=float, default=DEFAULT.strength,
        help="0 (nothing) to 1 (all of what the network would change); default: the style's, "
        + ", ".join(f"{name} {look.strength:g}" for name, look in LOOKS.items()),
    )  # fmt: skip
    group.add_argument(
        "--guard", type=_guard, default=DEFAULT.guard, metavar="COSINE",
        help="least likeness of a face to itself before, else it is restored more weakly (default: %(default)s; "
        f"{_NO_GUARD}: not measured)",
    )  # fmt: skip
    group.add_argument(
        "--hidden", choices=HIDDEN, default=DEFAULT.hidden,
        help="faces of which more than 30 %% seem covered: lower the strength (default), skip or ignore",
    )  # fmt: skip
    group.add_argument(
        "--style", choices=STYLES, default=DEFAULT.style,
        help="natural (default); clear: crisper faces; cinematic: also grades the whole photograph",
    )  # fmt: skip
    group.add_argument("--sharpness", type=float, default=DEFAULT.sharpness, help="of the faces, 0 (default) to 1")
    group.add_argument("--saturation", type=float, default=DEFAULT.saturation, help="of skin, 0 to 2 (default: 1)")
    group.add_argument(
        "--blend", choices=BLENDS, default=DEFAULT.blend, help="a soft mask (default), or Poisson's gradients"
    )
    group.add_argument("--match-colour", action="store_true", help="give faces the colours they had")


def _add_photograph(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--upscale", type=int, choices=UPSCALES, default=DEFAULT.upscale, help="enlarge it")
    group.add_argument("--upscaler", type=Path, metavar="FILE", help="super-resolution network (.pth, .onnx) for that")
    group.add_argument(
        "--colour", choices=COLOURS, default=DEFAULT.colour,
        help="keep (default), balance (white balance), revive (undo fading too)",
    )  # fmt: skip
    group.add_argument("--colouriser", type=Path, metavar="FILE", help=".onnx network that colours grey photographs")


def _guard(text: str) -> float | None:
    if text == _NO_GUARD:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a cosine or {_NO_GUARD}, got '{text}'") from error
