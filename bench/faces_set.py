"""The faces that proofs and tables run on: aligned, degraded by the grid, seeded, each with its clean original.

Without photographs of one's own it is the portrait that scikit-image carries (the astronaut Eileen Collins, NASA,
public domain): every level of the grid, and the kinds of picture that break restorers: dark, bright, grey, sepia, flat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..distill.faces import CROPS_TABLE, Crop, read_crops, read_rgb
from ..export.golden import aligned_astronaut
from ..runtime.errors import ContractError, InputError
from ..runtime.faces.degrade import LEVELS, degrade_face
from ..runtime.images import to_faces, to_pixels
from ..runtime.restorer import Faces

Pixels: TypeAlias = NDArray[np.uint8]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class FaceSet:
    """Degraded faces and their originals.

    Args:
        names: one a face, for people.
        inputs: what restorers are given, (N, 3, S, S) float32 RGB in [0, 1].
        targets: the clean originals, same shape.
        source: in words, where the faces come from.
    """

    names: tuple[str, ...]
    inputs: Faces
    targets: Faces
    source: str


def to_image(face: NDArray[np.float32]) -> Pixels:
    """Turn one face (3, S, S) in [0, 1] into (S, S, 3) uint8 RGB, rounded."""
    return np.asarray(to_pixels(face.transpose(1, 2, 0), np.dtype(np.uint8)), np.uint8)


def astronaut_faces(size: int) -> FaceSet:
    """The astronaut, aligned to `size`: every level of the grid, then five difficult renderings at level medium."""
    clean = aligned_astronaut(size)
    names, inputs, targets = [], [], []
    for level in LEVELS:
        names.append(level)
        targets.append(clean)
        inputs.append(degrade_face(clean, level, seed=0))
    for name, render in _RENDERINGS.items():
        names.append(f"{name}, medium")
        targets.append(render(clean))
        inputs.append(degrade_face(targets[-1], "medium", seed=0))
    source = "the astronaut portrait of scikit-image (NASA, public domain), degraded by the grid"
    return FaceSet(tuple(names), to_faces(inputs), to_faces(targets), source)


def folder_faces(folder: Path, size: int, limit: int | None = None) -> FaceSet:
    """Aligned crops of a folder, each degraded at one level of the grid in turn.

    Args:
        folder: of aligned crops; where it has a `crops.csv`, only the people held out for validation.
        size: side to bring them to.
        limit: take only so many, spread evenly over the folder.

    Raises:
        InputError: no crops.
        ImageError: a crop that cannot be read.
        ContractError: a crop that is not square.
    """
    files = list_crops(folder)
    if limit is not None and limit < len(files):
        files = [files[index * len(files) // limit] for index in range(limit)]
    levels = tuple(LEVELS)
    targets = [read_crop(file, size) for file in files]
    inputs = [degrade_face(face, levels[index % len(levels)], seed=index) for index, face in enumerate(targets)]
    names = tuple(f"{file.stem}, {levels[index % len(levels)]}" for index, file in enumerate(files))
    return FaceSet(
        names,
        to_faces(inputs),
        to_faces(targets),
        f"{len(files)} aligned crops from the folder {folder.name}, degraded by the grid",
    )


def list_crops(folder: Path) -> list[Path]:
    """The crops of a folder in order: its validation split where it has a table, else every image.

    Raises:
        InputError: there are none.
    """
    if (folder / CROPS_TABLE).is_file():
        return [folder / crop.file for crop in read_crops(folder, "validation")]
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"a folder of aligned crops ({', '.join(_SUFFIXES)})", f"none in {folder}")
    return files


def crop_side(file: Path) -> int:
    """Side in pixels of an aligned crop.

    Raises:
        ImageError: it cannot be read.
    """
    return read_rgb(file).shape[0]


def read_crop(file: Path, size: int) -> Pixels:
    """Read an aligned crop and bring it to (size, size, 3) uint8 RGB.

    Raises:
        ImageError: it cannot be read.
        ContractError: it is not square.
    """
    image = read_rgb(file)
    if image.shape[0] != image.shape[1]:
        raise ContractError("square aligned crops", f"{image.shape[1]} x {image.shape[0]} in {file}", "align it first")
    if image.shape[0] == size:
        return image
    interpolation = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=interpolation), np.uint8)


def read_alike(folder: Path, crops: Sequence[Crop]) -> list[Pixels]:
    """Read crops of a table, all with the side of the first.

    Raises:
        ImageError: one cannot be read.
        ContractError: one is not square.
    """
    side = crop_side(folder / crops[0].file)
    return [read_crop(folder / crop.file, side) for crop in crops]


def degrade_sample(sample: Sequence[Pixels], level: str, every: int) -> Faces:
    """Degrade every so many-th face of a table just as it is in the whole table: (N, 3, S, S)."""
    return to_faces([degrade_face(face, level, place * every) for place, face in enumerate(sample)])


def _dark(face: Pixels) -> Pixels:
    return np.rint(255 * 0.5 * (face / 255.0) ** 1.6).astype(np.uint8)


def _bright(face: Pixels) -> Pixels:
    # Highlights are lost, as in an overexposed print.
    return np.clip(np.rint(face * 1.3 + 20.0), 0, 255).astype(np.uint8)


def _grey(face: Pixels) -> Pixels:
    luma = np.rint(face @ np.array([0.299, 0.587, 0.114]))
    return np.repeat(luma[..., None], 3, axis=2).astype(np.uint8)


def _sepia(face: Pixels) -> Pixels:
    tint = np.array([1.0, 0.86, 0.66])
    return np.clip(np.rint(_grey(face) * tint + np.array([18.0, 10.0, 0.0])), 0, 255).astype(np.uint8)


def _flat(face: Pixels) -> Pixels:
    return np.rint(face * 0.35 + 95.0).astype(np.uint8)


_RENDERINGS: dict[str, Callable[[Pixels], Pixels]] = {
    "dark": _dark, "bright": _bright, "grey": _grey, "sepia": _sepia, "flat": _flat,
}  # fmt: skip
