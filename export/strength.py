"""Proves that a file's input `strength` does what it says, on faces: 0 gives them back, 1/2 goes half of the way."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..runtime.manifest import TensorSpec
from ..runtime.restorer import STRENGTH, Faces, Restorer

_FACES = 2  # every face shows the same: the strength multiplies all values alike
_LEVEL = 1 / 255
# A value in [0, 1] in half precision lies within half a step of 2^-11.
_HALF_STEP = 2.0**-12


def strength_problems(
    restorer: Restorer, faces: Faces, inputs: Iterable[TensorSpec], target: str, precision: str
) -> list[str]:
    """Run a file at strengths 0, 1/2 and 1, and say in words what is wrong; empty where nothing is.

    Args:
        restorer: the file, opened.
        faces: (N, 3, S, S); the first few are used.
        inputs: of the file; one of an older bundle has no strength, and nothing to prove.
        target, precision: of the file: how exact it can be.
    """
    types = {spec.name: spec.dtype for spec in inputs}
    if STRENGTH not in types:
        return []
    faces = faces[:_FACES]
    none, half, full = (restorer(faces, strength) for strength in (0.0, 0.5, 1.0))
    exact, close = _allowances(types[STRENGTH] if target != "coreml-image" else "uint8", target, precision)
    problems = []
    off = float(np.abs(none - faces).max())
    if not off <= exact:
        problems.append(f"strength 0 changes the face by {off:.2g}, more than {exact:.2g}")
    inside = (full > 0) & (full < 1)  # beyond, the clamp has cut the way short
    off = float(np.abs(half - (faces + full) / 2)[inside].max(initial=0.0))
    if not off <= close:
        problems.append(f"strength 0.5 is {off:.2g} away from half of the way, more than {close:.2g}")
    return problems


def _allowances(dtype: str, target: str, precision: str) -> tuple[float, float]:
    """How far strength 0 may be from the face, and strength 1/2 from half of the way.

    Float files give the face back to the bit, 8-bit pictures to half a level, half precision to half of its step. Half
    of the way has the rounding of three results and of the residual.
    """
    if dtype == "uint8":
        return _LEVEL / 2 * 1.001, 2 * _LEVEL
    if target.startswith("coreml") and precision != "fp32":
        return _HALF_STEP, 8 * _HALF_STEP
    return 0.0, 1e-5 if precision == "fp32" else 8 * _HALF_STEP
