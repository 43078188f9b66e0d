"""Damages files so that readers meet what no camera and no exporter ever wrote: a function of the file and a seed.

Half of the changes know the format: they mend the checksums of PNG chunks, the length of a safetensors header or the
archive of a PyTorch file afterwards, so that the damage reaches the code behind the first check.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    1e308,
    "",
    "x",
    "../../escape",
    [],
    {},
    [0],
    [[1]],
    {"a": 1},
)
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_CHANGES = 6

Change = Callable[[bytearray, np.random.Generator], None]


def mutate(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """A damaged version of a file.

    Args:
        content: a whole file.
        others: whole files to take pieces from.
        rng: decides everything.
    """
    if rng.random() < 0.5:
        for knows, change in _FORMATS:
            if knows(content):
                return change(content, rng)
    if others and rng.random() < 0.05:
        other = others[int(rng.integers(len(others)))]
        cut, joint = int(rng.integers(len(content) + 1)), int(rng.integers(len(other) + 1))
        return content[:cut] + other[joint:]
    return _scramble(content, rng)


def _scramble(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, inserted, removed, repeated; most of them near the beginning, where headers are."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, _MOST_CHANGES + 1))):
        _CHANGES[int(rng.integers(len(_CHANGES)))](data, rng)
    return bytes(data)


def _place(data: bytearray, rng: np.random.Generator) -> int:
    reach = len(data) if rng.random() < 0.5 else min(len(data), 512)
    return int(rng.integers(reach)) if reach else 0


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _set(data: bytearray, rng: np.random.Generator) -> None:
    if data:
        data[_place(data, rng)] = int(rng.choice([0, 1, 127, 128, 254, 255, int(rng.integers(256))]))


def _number(data: bytearray, rng: np.random.Generator) -> None:
    """A number that overflows, underflows or is off by one, in either byte order."""
    size = int(rng.choice([2, 4, 8]))
    value = _NUMBERS[int(rng.integers(len(_NUMBERS)))] % 256**size
    place = _place(data, rng)
    data[place : place + size] = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    place = _place(data, rng)
    del data[place : place + int(rng.choice([1, 2, 4, 64, 4096]))]


def _end(data: bytearray, rng: np.random.Generator) -> None:
    del data[_place(data, rng) :]


def _insert(data: bytearray, rng: np.random.Generator) -> None:
    place = _place(data, rng)
    data[place:place] = rng.bytes(int(rng.choice([1, 2, 4, 64])))


def _repeat(data: bytearray, rng: np.random.Generator) -> None:
    place, size = _place(data, rng), int(rng.choice([4, 64, 1024]))
    data[place:place] = data[place : place + size] * int(rng.integers(1, 5))


_CHANGES: tuple[Change, ...] = (_flip, _set, _number, _number, _cut, _end, _insert, _repeat)


def _mutate_png(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one chunk and mend its length and checksum."""
    chunks, place = [], len(_PNG)
    while place + 12 <= len(content):
        size = struct.unpack_from(">I", content, place)[0]
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    chosen = int(rng.integers(len(chunks)))
    name, data = chunks[chosen]
    if name == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(_scramble(zlib.decompressobj().decompress(data), rng))
    else:
        data = _scramble(data, rng)
    chunks[chosen] = (name, data)
    if rng.random() < 0.2:
        chunks.insert(chosen, chunks[int(rng.integers(len(chunks)))])
    return _PNG + b"".join(_chunk(*one) for one in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _mutate_safetensors(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one value of the header, or of the JSON within it, and mend the header's length."""
    size = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + size])
    metadata = header.get("__metadata__", {})
    if metadata and rng.random() < 0.6:
        key = sorted(metadata)[int(rng.integers(len(metadata)))]
        metadata[key] = json.dumps(mutate_json(json.loads(metadata[key]), rng))
    else:
        header = mutate_json(header, rng)
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + content[8 + size :]


def _mutate_archive(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one member of a zip archive, checksums mended."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(stream, "w") as taken:
        names = given.namelist()
        chosen = names[int(rng.integers(len(names)))]
        for name in names:
            data = given.read(name)
            taken.writestr(name, _scramble(data, rng) if name == chosen else data)
    return stream.getvalue()


def _mutate_text(content: bytes, rng: np.random.Generator) -> bytes:
    return json.dumps(mutate_json(json.loads(content), rng)).encode()


def mutate_json(value: Any, rng: np.random.Generator) -> Any:
    """One value somewhere in a JSON document replaced, removed or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = list(value)[int(rng.integers(len(value)))]
        changed = {**value, key: mutate_json(value[key], rng)}
        lot = rng.random()
        if lot < 0.1:
            del changed[key]
        elif lot < 0.15:
            changed[f"{key}x"] = changed.pop(key)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = int(rng.integers(len(value)))
        return [*value[:place], mutate_json(value[place], rng), *value[place + 1 :]]
    if isinstance(value, int) and rng.random() < 0.5:
        return int(rng.choice([value + 1, value - 1, -value, value * 1000, value * 10**6]))
    return _VALUES[int(rng.integers(len(_VALUES)))]


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, np.random.Generator], bytes]], ...] = (
    (lambda content: content.startswith(_PNG), _mutate_png),
    (lambda content: content[8:10] == b'{"', _mutate_safetensors),
    (lambda content: content.startswith(b"PK"), _mutate_archive),
    (lambda content: content.startswith(b"{"), _mutate_text),
)
