"""Real faces for the gate: a folder's sharp aligned crops, degraded and altered in every way that the gate asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from ..runtime.faces.degrade import degrade_face
from ..runtime.faces.detect import Detector
from ..runtime.images import read_photo, to_faces, to_uint8
from ..runtime.restorer import Faces
from .golden import TREATMENTS, treat_face

LEVELS = ("severe", "medium", "mild")
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# How many crops are looked at to find the most turned faces among them.
_LOOKED_AT = 48
_PROFILES = 2


def image_files(folder: Path) -> list[Path]:
    """The images of a folder and those below it, in order of path.

    Raises:
        InputError: there are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGES) if folder.is_dir() else []
    if not files:
        raise InputError("a folder of aligned faces", f"no images in {folder}")
    return files


def spread_out(files: list[Path], count: int) -> list[Path]:
    """At most `count` of the files, evenly spread, so that one person's series at the start does not decide.

    Raises:
        InputError: less than one.
    """
    if count < 1:
        raise InputError("a number of faces", str(count))
    return [files[round(place)] for place in np.linspace(0, len(files) - 1, min(count, len(files)))]


def gate_faces(folder: Path, size: int, count: int, detector: Detector | None = None) -> tuple[Faces, tuple[str, ...]]:
    """Choose and degrade faces: each level and treatment in turn, then the most turned heads, severely.

    Args:
        folder: of sharp aligned crops, `size` pixels a side.
        size: S.
        count: how many crops to use for levels and treatments; at least one each gives the gate its worth.
        detector: finds landmarks, by which turned heads are known; None leaves them out.

    Returns:
        (N, 3, S, S) float32 RGB in [0, 1], and a name each: file and treatment.

    Raises:
        InputError: no crops, or none of that size.
        ImageError: one of them cannot be read.
    """
    files = image_files(folder)
    kinds = (*LEVELS, *TREATMENTS)
    faces, names = [], []
    for i, path in enumerate(spread_out(files, count)):
        kind = kinds[i % len(kinds)]
        face = _read(path, size)
        faces.append(degrade_face(face, kind, i) if kind in LEVELS else treat_face(face, kind, i))
        names.append(f"{path.stem}, {kind}")
    for path in [] if detector is None else most_turned(spread_out(files, _LOOKED_AT), size, detector)[:_PROFILES]:
        faces.append(degrade_face(_read(path, size), "severe", 0))
        names.append(f"{path.stem}, profile")
    return to_faces(faces), tuple(names)


def most_turned(files: list[Path], size: int, detector: Detector) -> list[Path]:
    """Order faces by how far the head is turned: the nose beside the middle of eyes and mouth, in eye widths.

    Files in which no face is found are left out.

    Raises:
        InputError: a crop of another size.
        ImageError: one of them cannot be read.
    """
    found = []
    for path in files:
        detections = detector(_read(path, size))
        if detections:
            eyes, nose, mouth = (np.asarray(detections[0].landmarks)[part] for part in (slice(0, 2), 2, slice(3, 5)))
            middle = (eyes[:, 0].mean() + mouth[:, 0].mean()) / 2
            # The fitted eyes stay level: a turned head moves the nose sideways and brings the eyes together.
            found.append((abs(float(nose[0] - middle)) / max(float(np.ptp(eyes[:, 0])), 1.0), path))
    return [path for _, path in sorted(found, key=lambda pair: -pair[0])]


def _read(path: Path, size: int) -> NDArray[np.uint8]:
    face = to_uint8(read_photo(path).rgb)
    if face.shape != (size, size, 3):
        raise InputError(f"crops of {size} x {size}", f"{face.shape[1]} x {face.shape[0]} at {path}")
    return face
