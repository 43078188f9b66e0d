"""A colour profile of a printing press that exists nowhere, made here because profiles of real ones are not free."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

# Linear sRGB to XYZ under D50 (Bradford), as ICC profiles of sRGB state it.
_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_WHITE = np.array([0.9642, 1.0, 0.8249])
_INK_GRID, _LAB_GRID = 9, 17
_BLACK = 0.6  # of what three inks have in common is printed in black


def cmyk_profile(*, way_back: bool = True) -> bytes:
    """An ICC profile (version 2) from inks to Lab, and back unless told otherwise."""
    steps = np.linspace(0, 1, _INK_GRID)
    inks = np.stack(np.meshgrid(steps, steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 4)
    tags = {b"A2B0": _table(4, 3, _INK_GRID, _encode_lab(_to_lab((1 - inks[:, :3]) * (1 - inks[:, 3:]))))}
    if way_back:
        steps = np.linspace(0, 1, _LAB_GRID) * 65535
        lab = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        rgb = _from_lab(lab / 65280 * np.array([100, 255, 255]) - np.array([0, 128, 128]))
        black = _BLACK * (1 - rgb.max(axis=1, keepdims=True))
        share = np.clip(1 - rgb / np.maximum(1 - black, 1e-6), 0, 1)
        tags[b"B2A0"] = _table(3, 4, _LAB_GRID, np.concatenate([share, black], axis=1) * 65535)
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in _WHITE)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"press\0" + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0none\0"
    return _assemble(tags)


def _table(sources: int, targets: int, grid: int, values: NDArray[np.float64]) -> bytes:
    """A table of 16 bits (mft2) whose curves are straight."""
    identity = b"".join(struct.pack(">i", 65536 if place % 4 == 0 else 0) for place in range(9))
    straight = struct.pack(">HH", 0, 65535)
    head = b"mft2\0\0\0\0" + bytes((sources, targets, grid, 0)) + identity + struct.pack(">HH", 2, 2)
    return head + straight * sources + np.clip(np.rint(values), 0, 65535).astype(">u2").tobytes() + straight * targets


def _assemble(tags: dict[bytes, bytes]) -> bytes:
    place = 128 + 4 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        directory += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = bytearray(128)
    header[:4] = struct.pack(">I", place + len(body))
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = b"".join(struct.pack(">i", round(value * 65536)) for value in _WHITE)
    return bytes(header) + directory + body


def _to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    share = (linear @ _TO_XYZ.T) / _WHITE
    bent = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    x, y, z = bent.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def _from_lab(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    y = (lab[:, 0] + 16) / 116
    bent = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    share = np.where(bent**3 > 216 / 24389, bent**3, (116 * bent - 16) / (24389 / 27))
    linear = np.clip((share * _WHITE) @ np.linalg.inv(_TO_XYZ).T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _encode_lab(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    return (lab + np.array([0, 128, 128])) / np.array([100, 255, 255]) * 65280
