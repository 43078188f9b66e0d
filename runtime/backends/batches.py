"""How every backend feeds its engine: contract checked, few faces at a time, output clamped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..restorer import Faces, RestorerInfo, check_faces, check_strength


def mixed(run: Callable[[Faces], Faces], strength: float) -> Callable[[Faces], Faces]:
    """Give an engine without a strength of its own one: its input plus so much of what it changes.

    Args:
        run: (n, 3, S, S) -> the engine's raw output.
        strength: in [0, 1]; 1 leaves the output as it is, to the bit.

    Raises:
        ContractError: a strength outside [0, 1].
    """
    share = np.float32(check_strength(strength))

    def run_mixed(faces: Faces) -> Faces:
        return (faces + share * (run(faces) - faces)).astype(np.float32, copy=False)

    return run if share == 1 else run_mixed


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
    if len(faces) <= limit:
        return _clamped(run(np.ascontiguousarray(faces)), faces)
    restored = np.empty(faces.shape, np.float32)
    for start in range(0, len(faces), limit):
        part = np.ascontiguousarray(faces[start : start + limit])
        np.clip(run(part), 0.0, 1.0, out=restored[start : start + limit])
    return restored


def _clamped(raw: Faces, faces: Faces) -> Faces:
    """Clamp an engine's answer in place where it is ours alone: on a large face another array costs a millisecond."""
    flags = raw.flags
    ours = raw.dtype == np.float32 and flags.writeable and flags.c_contiguous and not np.may_share_memory(raw, faces)
    return np.clip(raw, 0.0, 1.0, out=raw if ours else np.empty(faces.shape, np.float32))
