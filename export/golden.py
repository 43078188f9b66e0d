"""Golden vectors: one real face, degraded and tinted in eight ways, and what the PyTorch student makes of it.

They travel in the bundle as raw numbers, so that a device test needs neither PyTorch nor photographs.
"""

from __future__ import annotations

from pathlib import Path

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
    """Make the golden faces and their names: (8, 3, size, size) float32 RGB in [0, 1], every value a multiple of 1/255.

    Three are degraded by the grid's levels; five more are the medium one made dark, bright, grey, sepia, and flat (its
    mean colour everywhere), where wrong channel orders, clipped ranges and padding show best.
    """
    face = aligned_astronaut(size)
    faces = {level: degrade_face(face, level, _SEED) for level in ("mild", "medium", "severe")}
    medium = faces["medium"].astype(np.float64)
    luma = medium @ _LUMA
    variants = {
        "dark": medium * 0.25,
        "bright": 255 - (255 - medium) * 0.25,
        "grey": np.repeat(luma[..., None], 3, axis=2),
        "sepia": luma[..., None] * _SEPIA,
        "flat": np.broadcast_to(medium.mean(axis=(0, 1)), medium.shape),
    }
    faces |= {name: np.rint(variant).astype(np.uint8) for name, variant in variants.items()}
    return to_faces(list(faces.values())), tuple(faces)


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
