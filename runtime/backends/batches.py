"""How every backend feeds its engine: contract checked, few faces at a time, output clamped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..restorer import Faces, RestorerInfo, check_faces


def restore_in_batches(run: Callable[[Faces], Faces], faces: Faces, info: RestorerInfo, limit: int) -> Faces:
    """Run an engine over faces, `limit` at a time, so that memory does not grow with N.

    Args:
        run: (n, 3, S, S) float32 in [0, 1] -> the engine's raw output of the same shape, n <= limit.
        faces: (N, 3, S, S) float32 RGB in [0, 1].
        info: whose size limits apply.
        limit: the most faces the engine takes at once.

    Returns:
        (N, 3, S, S) float32 RGB, clamped to [0, 1]; NaN stays NaN, so that a broken network is seen.

    Raises:
        ContractError: faces outside the contract.
    """
    check_faces(faces, info)
    restored = np.empty(faces.shape, np.float32)
    for start in range(0, len(faces), limit):
        part = np.ascontiguousarray(faces[start : start + limit])
        np.clip(run(part), 0.0, 1.0, out=restored[start : start + limit])
    return restored
