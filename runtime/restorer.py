"""The one contract that every engine keeps: aligned faces in, aligned faces out.

Faces are (N, 3, S, S) float32, RGB, range [0, 1], aligned to the FFHQ template. Range, layout and colour order of the
network's file are the backend's business and nobody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import ContractError

Faces: TypeAlias = NDArray[np.float32]
# Name of the input by which a file takes the strength of its own accord.
STRENGTH = "strength"


@dataclass(frozen=True)
class RestorerInfo:
    """What a restorer is.

    Args:
        name: for people, for example `student-base`.
        engine: `pytorch`, `onnx_runtime`, `litert`, `tflite_runtime` or `coreml`.
        device: `cpu`, `cuda:0`, `mps`, ...
        size: the only S it accepts, or None where any multiple of `multiple` will do.
        multiple: S must be a multiple of this.
        native_size: the S to use where the caller has no wish of its own.
        sha256: of the file it was opened from.
    """

    name: str
    engine: str
    device: str
    size: int | None
    multiple: int
    native_size: int
    sha256: str


class Restorer(Protocol):
    """Anything that restores aligned faces under the contract."""

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        ...

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        """Restore faces (N, 3, S, S) float32 RGB in [0, 1]; the result has the same shape, type and range.

        Args:
            faces: what to restore.
            strength: how much of what the network adds is added, in [0, 1]: 0 gives the faces back, 1 restores in full,
                and every pixel moves steadily in between.

        Raises:
            ContractError: faces or strength outside the contract.
        """
        ...


def check_faces(faces: Faces, info: RestorerInfo | None = None) -> Faces:
    """Return `faces` unchanged if they keep the contract.

    Args:
        faces: the claim: (N, 3, S, S) float32 RGB in [0, 1].
        info: the restorer whose size limits apply; None checks the general contract alone.

    Raises:
        ContractError: another type, shape or range, NaN, or a size that the restorer does not take.
    """
    if faces.dtype != np.float32:
        raise ContractError("faces of type float32", str(faces.dtype), "divide uint8 by 255 and convert")
    if faces.ndim != 4 or faces.shape[1] != 3 or faces.shape[2] != faces.shape[3] or faces.size == 0:
        raise ContractError("faces of shape (N, 3, S, S)", str(faces.shape), "channels come before rows and columns")
    low, high = float(faces.min()), float(faces.max())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails too
        raise ContractError("values in [0, 1]", f"[{low:g}, {high:g}]", "scale and clip the faces first")
    if info is not None:
        _check_size(faces.shape[-1], info)
    return faces


def check_strength(strength: float) -> float:
    """Return the strength if it lies in [0, 1].

    Raises:
        ContractError: it does not, or is NaN.
    """
    if not 0.0 <= strength <= 1.0:
        raise ContractError("a strength in [0, 1]", f"{strength:g}")
    return float(strength)


def _check_size(size: int, info: RestorerInfo) -> None:
    if info.size is not None and size != info.size:
        raise ContractError(
            f"faces of {info.size} x {info.size} for {info.name}", f"{size} x {size}", "align to that size"
        )
    if size % info.multiple:
        raise ContractError(f"a side divisible by {info.multiple} for {info.name}", str(size), "align to such a size")
