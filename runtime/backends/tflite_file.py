"""Is a TFLite file whole? Old interpreters do not ask, and end the process on a truncated one.

Every offset that an interpreter follows is followed here first, within the bounds of the file, without any package.

Source: the FlatBuffers binary format and TFLite's schema (both Apache-2.0), fields numbered as there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from ..errors import BackendError

_IDENTIFIER = b"TFL3"
_FACTS = b"pocketface"

# Field number -> the size of an element (a vector of numbers or a string), the name of a table, or [its name] for a
# vector of tables. Fields that hold a plain number lie within their table and need no entry.
_Field: TypeAlias = "int | str | list[str]"
_SCHEMA: dict[str, dict[int, _Field]] = {
    "Model": {
        1: ["OperatorCode"], 2: ["SubGraph"], 3: 1, 4: ["Buffer"], 5: 4, 6: ["Metadata"], 7: ["SignatureDef"],
    },
    "OperatorCode": {1: 1},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: 1},
    "Tensor": {0: 4, 3: 1, 4: "Quantization", 6: "Opaque", 7: 4},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8, 5: "Opaque"},
    "Operator": {1: 4, 2: 4, 4: "Opaque", 5: 1, 7: 1, 8: 4},
    "Buffer": {0: 1},
    "Metadata": {0: 1},
    "SignatureDef": {0: ["TensorMap"], 1: ["TensorMap"], 2: 1},
    "TensorMap": {0: 1},
    "Opaque": {},
}  # fmt: skip


def check_tflite(data: bytes, path: Path) -> None:
    """Make sure that all parts of a TFLite file lie within it.

    Args:
        data: the file's content.
        path: for the message.

    Raises:
        BackendError: not a TFLite file, or a part of it is missing.
    """
    if data[4:8] != _IDENTIFIER:
        raise BackendError("a TFLite file", f"{len(data)} bytes of something else in {path}", "export it again")
    try:
        _check_table(data, _offset(data, 0), "Model")
    except (struct.error, _OutOfBoundsError) as error:
        raise BackendError(
            "a whole TFLite file",
            f"a part that lies outside the {len(data)} bytes of {path}",
            "copy or export it again",
        ) from error


def read_facts(data: bytes, path: Path) -> Mapping[str, str]:
    """The JSON metadata that PocketFace writes into its files; empty where there is none.

    Args:
        data: the file's content, checked by `check_tflite`.
        path: for the message.

    Raises:
        BackendError: metadata that is no JSON object.
    """
    model = _offset(data, 0)
    buffers = _tables(data, _field(data, model, 4))
    for entry in _tables(data, _field(data, model, 6)):
        name, number = _field(data, entry, 0), _field(data, entry, 1)
        if name is not None and number is not None and _bytes(data, name) == _FACTS:
            try:
                content = _field(data, buffers[_number(data, number)], 0)
                return {} if content is None else dict(json.loads(_bytes(data, content)))
            except (ValueError, TypeError, IndexError) as error:
                raise BackendError("metadata that is a JSON object", f"{error} in {path}", "export it again") from error
    return {}


class _OutOfBoundsError(Exception):
    pass


def _check_table(data: bytes, table: int, name: str) -> None:
    end = table + _inline_size(data, table)
    if end > len(data):
        raise _OutOfBoundsError
    for number, kind in _SCHEMA[name].items():
        place = _field(data, table, number)
        if place is None:
            continue
        if isinstance(kind, int):
            _check_vector(data, place, kind)
        elif isinstance(kind, str):
            _check_table(data, _offset(data, place), kind)
        else:
            _check_vector(data, place, 4)
            for element in _tables(data, place):
                _check_table(data, element, kind[0])


def _check_vector(data: bytes, place: int, element: int) -> None:
    start = _offset(data, place)
    if start + 4 + _number(data, start) * element > len(data):
        raise _OutOfBoundsError


def _number(data: bytes, place: int) -> int:
    return struct.unpack_from("<I", data, place)[0]


def _offset(data: bytes, place: int) -> int:
    """Follow the forward reference that stands at a place."""
    distance = _number(data, place)
    if distance == 0:
        raise _OutOfBoundsError
    return place + distance


def _layout(data: bytes, table: int) -> int:
    """Where a table's layout stands: its size, the table's, and each field's place in the table."""
    place = table - struct.unpack_from("<i", data, table)[0]
    if place < 0:
        raise _OutOfBoundsError
    return place


def _inline_size(data: bytes, table: int) -> int:
    return struct.unpack_from("<H", data, _layout(data, table) + 2)[0]


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a table's field stands, or None where it is left out."""
    layout, entry = _layout(data, table), 4 + 2 * number
    if entry >= struct.unpack_from("<H", data, layout)[0]:
        return None
    inside = struct.unpack_from("<H", data, layout + entry)[0]
    return table + inside if inside else None


def _tables(data: bytes, place: int | None) -> list[int]:
    """The tables of a vector that is referred to at a place."""
    if place is None:
        return []
    start = _offset(data, place)
    return [_offset(data, start + 4 + 4 * index) for index in range(_number(data, start))]


def _bytes(data: bytes, place: int) -> bytes:
    start = _offset(data, place)
    return data[start + 4 : start + 4 + _number(data, start)]
