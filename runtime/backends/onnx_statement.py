"""What the maker of an ONNX file left unsaid: a side file `NAME.onnx.json` that states it for other people's restorers.

Our own files keep the contract and need none. Others take [-1, 1], or BGR, or a weight as a second input, and say so
nowhere in the file; guessing would restore every face wrongly and quietly. An example, for CodeFormer:

    {"range": [-1, 1], "colour": "rgb", "constants": {"weight": 0.5}}
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..restorer import Faces

COLOURS = ("rgb", "bgr")


@dataclass(frozen=True)
class Statement:
    """How a file wants to be run; the defaults are the contract.

    Args:
        range: what black and white are, in and out: (0, 1), (-1, 1), (0, 255).
        colour: order of the channels, in and out.
        size: the only S it takes, where its input leaves S open.
        multiple: what S must be divisible by, where its input leaves S open.
        native_size: the S to use where the caller has no wish, where its input leaves S open.
        constants: values of further inputs, by name.
        output: name of the output that holds the faces, where there are several.
    """

    range: tuple[float, float] = (0.0, 1.0)
    colour: str = "rgb"
    size: int | None = None
    multiple: int | None = None
    native_size: int | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    output: str | None = None

    def encode(self, faces: Faces) -> Faces:
        """Faces of the contract as the file takes them."""
        low, high = self.range
        if (low, high) == (0, 1):  # two passes over a large face are a millisecond
            return np.ascontiguousarray(self._turn(faces))
        return np.ascontiguousarray(self._turn(faces) * np.float32(high - low) + np.float32(low))

    def decode(self, values: Faces) -> Faces:
        """What the file gives as faces of the contract, not yet clamped."""
        low, high = self.range
        if (low, high) == (0, 1):
            return self._turn(values)
        return (self._turn(values) - np.float32(low)) / np.float32(high - low)

    def _turn(self, faces: Faces) -> Faces:
        return faces if self.colour == "rgb" else faces[:, ::-1]


def side_file(path: Path) -> Path:
    """Where the statement about an ONNX file is kept: `NAME.onnx.json` beside it."""
    return path.with_name(path.name + ".json")


def read_statement(path: Path, default: Statement | None = None) -> Statement:
    """Read the statement about an ONNX file.

    Args:
        path: the ONNX file.
        default: what holds where the side file says nothing, or is not there; None is the contract.

    Raises:
        InputError: a side file that is no JSON object, or has an unknown key or an impossible value.
    """
    place = side_file(path)
    default = Statement() if default is None else default
    if not place.exists():
        return default
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("a JSON object", f"{error} in {place}") from error
    if not isinstance(values, dict):
        raise InputError("a JSON object", f"{type(values).__name__} in {place}")
    keys = [item.name for item in dataclasses.fields(Statement)]
    unknown = sorted(set(values) - set(keys))
    if unknown:
        raise InputError(f"keys among {', '.join(keys)}", f"{', '.join(unknown)} in {place}")
    for key, value in values.items():
        wanted, holds = _RULES[key]
        if not holds(value):
            raise InputError(f"{key} to be {wanted}", f"{json.dumps(value)} in {place}")
    if "range" in values:
        values["range"] = (float(values["range"][0]), float(values["range"][1]))
    return dataclasses.replace(default, **values)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] < value[1]


_RULES = {
    "range": ("two numbers, black before white, as [-1, 1]", _range),
    "colour": (f"one of {', '.join(COLOURS)}", lambda value: value in COLOURS),
    "size": ("a positive number of pixels", _side),
    "multiple": ("a positive number of pixels", _side),
    "native_size": ("a positive number of pixels", _side),
    "constants": (
        "numbers by name of input",
        lambda value: isinstance(value, dict) and all(map(_number, value.values())),
    ),
    "output": ("the name of an output", lambda value: isinstance(value, str)),
}
