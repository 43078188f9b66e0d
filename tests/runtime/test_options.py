from __future__ import annotations

import argparse
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from pocketface.runtime.errors import InputError
from pocketface.runtime.options import DEFAULT, LOOKS, Look, PhotoOptions
from pocketface.runtime.options_arguments import add_option_arguments, options_from


def parsed(*words: str) -> PhotoOptions:
    parser = argparse.ArgumentParser()
    add_option_arguments(parser)
    return options_from(parser.parse_args(words))


def test_no_words_are_the_defaults() -> None:
    assert parsed() == DEFAULT == PhotoOptions()


def test_every_word_arrives() -> None:
    wanted = PhotoOptions(
        strength=0.5, choose="reference", count=2, reference=Path("a.jpg"), alike=0.7, smallest=40, score=0.9,
        turned="always", hidden="skip", guard=None, blend="poisson", match_colour=True, upscale=4,
        upscaler=Path("x.pth"), style="clear", sharpness=0.3, saturation=1.2, colour="revive",
        colouriser=Path("c.onnx"), anonymise="others",
    )  # fmt: skip
    words = (
        "--strength 0.5 --count 2 --reference a.jpg --alike 0.7 --smallest 40 --score 0.9 --turned always "
        "--hidden skip --guard off --blend poisson --match-colour --upscale 4 --upscaler x.pth --style clear "
        "--sharpness 0.3 --saturation 1.2 --colour revive --colouriser c.onnx --anonymise others"
    )
    assert parsed(*words.split()) == wanted


@pytest.mark.parametrize(("style", "look"), LOOKS.items())
def test_a_style_is_a_strength_and_a_tone(style: str, look: Look) -> None:
    assert PhotoOptions(style=style).look == look
    assert PhotoOptions(style=style, strength=0.0).look == replace(look, strength=0.0)
    assert PhotoOptions(style=style, sharpness=1.0).look == replace(look, sharpness=1.0)
    PhotoOptions(strength=look.strength, sharpness=look.sharpness)  # in range


def test_options_travel_and_are_recorded() -> None:
    options = PhotoOptions(choose="reference", reference=Path("a.jpg"))
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301 - our own bytes
    assert json.loads(json.dumps(options.to_json()))["reference"] == "a.jpg"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"strength": 1.1}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"sharpness": -1}, "sharpness"),
        ({"saturation": 3}, "saturation"),
        ({"guard": 2.0}, "guard"),
        ({"alike": -2.0}, "alike"),
        ({"smallest": -1}, "smallest"),
        ({"count": 0}, "count"),
        ({"choose": "pretty"}, "choose"),
        ({"choose": "reference"}, "reference"),
        ({"reference": Path("a.jpg")}, "reference"),
        ({"upscale": 3}, "upscale"),
        ({"upscaler": Path("x.pth")}, "upscaler"),
        ({"style": "vivid"}, "style"),
        ({"blend": "sharp"}, "blend"),
        ({"colour": "red"}, "colour"),
        ({"anonymise": "some"}, "anonymise"),
        ({"hidden": "guess"}, "hidden"),
        ({"turned": "maybe"}, "turned"),
    ],
)
def test_impossible_wishes_are_refused(wish: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PhotoOptions(**wish)  # pyright: ignore[reportArgumentType] - wrong on purpose
