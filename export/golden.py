"""Golden vectors: one real face, degraded and altered in ten ways, and what the PyTorch student makes of it.

They travel in the bundle as raw numbers, so that a device test needs neither PyTorch nor photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import BundleError
from ..runtime.faces.align import FFHQ, align_face, estimate_similarity
from ..runtime.faces.degrade import degrade_face
from ..runtime.images import to_faces
from ..runtime.manifest import Golden, describe_file
from ..runtime.restorer import Faces, Restorer

FOLDER = "golden"
_SEED = 20261123
# scikit-image's astronaut (Eileen Collins; NASA, public domain), 512 x 512: medians of YuNet's findings at one, two and
# three times its size, to a tenth of a pixel.
_LANDMARKS = ((203.0, 102.4), (246.0, 104.4), (221.9, 126.9), (201.2, 142.0), (241.6, 143.5))
# Luma weights of ITU-R BT.601; the tint is that of a faded print.
_LUMA = np.array([0.299, 0.587, 0.114])
_SEPIA = np.array([1.0, 0.86, 0.67])


def golden_faces(size: int) -> tuple[Faces, tuple[str, ...]]:
    """Make the golden faces and their names: (10, 3, size, size) float32 RGB, multiples of 1/255 in [0, 1].

    Three are degraded by the grid's levels; the others are level medium: dark, bright, grey, sepia, flat (one colour
    everywhere), where wrong channel orders, clipped ranges and padding show best; occluded and turned.
    """
    face = aligned_astronaut(size)
    faces = {level: degrade_face(face, level, _SEED) for level in ("mild", "medium", "severe")}
    faces |= {name: treat_face(face, name, _SEED) for name in TREATMENTS}
    return to_faces(list(faces.values())), tuple(faces)


def treat_face(face: NDArray[np.uint8], treatment: str, seed: int) -> NDArray[np.uint8]:
    """Degrade a face at level medium, altered in one of the ways that break restorers.

    Args:
        face: (S, S, 3) uint8 RGB, sharp and aligned.
        treatment: one of TREATMENTS.
        seed: of the degradation.

    Raises:
        KeyError: another treatment.
    """
    if treatment in _BEFORE:
        return degrade_face(_BEFORE[treatment](face), "medium", seed)
    return np.rint(_AFTER[treatment](degrade_face(face, "medium", seed).astype(np.float64))).astype(np.uint8)


def _occluded(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A dark, sharp-edged object over mouth and one cheek, as a hand, a mask or a microphone would be."""
    side, covered = len(face), face.copy()
    centre, axes = (round(0.42 * side), round(0.75 * side)), (round(0.3 * side), round(0.16 * side))
    cv2.ellipse(covered, centre, axes, 20, 0, 360, (46, 60, 82), -1)
    return covered


def _turned(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Columns moved so that one half of the face shrinks to a third, as it does where a head turns aside."""
    side = len(face)
    place = np.linspace(0, 1, side)
    bent = np.interp(place, [0, 0.3, 0.75, 1], [0, 0.5, 0.8, 1]) * (side - 1)
    columns = np.broadcast_to(bent.astype(np.float32), (side, side)).copy()
    rows = np.broadcast_to(np.arange(side, dtype=np.float32)[:, None], (side, side)).copy()
    return np.asarray(cv2.remap(face, columns, rows, cv2.INTER_LINEAR), np.uint8)


def _luma(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values @ _LUMA)[..., None]


_BEFORE = {"occluded": _occluded, "turned": _turned}
_AFTER: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "dark": lambda values: values * 0.25,
    "bright": lambda values: 255 - (255 - values) * 0.25,
    "grey": lambda values: np.repeat(_luma(values), 3, axis=2),
    "sepia": lambda values: _luma(values) * _SEPIA,
    "flat": lambda values: np.broadcast_to(values.mean(axis=(0, 1)), values.shape),
}
TREATMENTS = (*_AFTER, *_BEFORE)


def aligned_astronaut(size: int) -> NDArray[np.uint8]:
    """The astronaut's face, sharp, aligned to the FFHQ template: (size, size, 3) uint8 RGB."""
    from skimage import data  # only whoever makes a bundle needs the picture

    matrix = estimate_similarity(np.array(_LANDMARKS), FFHQ, size)
    return align_face(data.astronaut(), matrix, size).astype(np.uint8)


def write_golden(bundle: Path, size: int, student: Restorer) -> Golden:
    """Write the golden faces of one size, and what the student makes of them, into a bundle."""
    faces, names = golden_faces(size)
    (bundle / FOLDER).mkdir(exist_ok=True)
    entries = []
    for kind, values in (("given", faces), ("restored", student(faces))):
        path = f"{FOLDER}/{kind}_{size}.bin"
        (bundle / path).write_bytes(values.astype("<f4").tobytes())
        entries.append(describe_file(bundle, path))
    return Golden(size, names, entries[0], entries[1])


def read_golden(bundle: Path, golden: Golden) -> tuple[Faces, Faces]:
    """Read the faces given to the student and those it returned, each (N, 3, S, S).

    Raises:
        BundleError: a file is missing or of another length.
    """
    shape = (len(golden.names), 3, golden.size, golden.size)
    found = []
    for entry in (golden.given, golden.restored):
        path = bundle / entry.path
        if not path.is_file() or path.stat().st_size != 4 * np.prod(shape):
            got = f"{path.stat().st_size} bytes" if path.is_file() else "nothing"
            raise BundleError(f"{shape} float32 values in {entry.path}", got, "export the bundle again")
        found.append(np.frombuffer(path.read_bytes(), "<f4").reshape(shape).astype(np.float32))
    return found[0], found[1]
