"""How much of a face is covered: an estimate from the identity network's last map.

Each of the map's 7 x 7 cells sees a part of the face. A linear function of its 512 channels, one for each place, tells
how much of that part is something else than a face. It was fitted on synthetic covers over real faces
(`pocketface.distill.occlusion`); what it is worth is in docs/photos.md.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ContractError
from .align import ARCFACE

WEIGHTS = Path(__file__).parents[1] / "weights" / "occlusion.npz"
CELLS, CHANNELS = 7, 512
# Beyond this share a face is no longer restored at full strength.
MUCH = 0.3
# The part of an ArcFace crop that is face and not hair, neck or background: centre and radii in shares of its sides.
_CENTRE, _RADII = (0.5, 0.52), (0.42, 0.5)


def hidden_share(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Estimate which share of each face is covered.

    Args:
        maps: (N, 7, 7, 512) of `IdentityNetwork.embed_and_map`.

    Returns:
        (N,) in [0, 1].

    Raises:
        ContractError: maps of another network.
    """
    return np.einsum("nij,ij->n", hidden_cells(maps), face_cells())


def hidden_cells(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Estimate which share of each cell is covered: (N, 7, 7, 512) -> (N, 7, 7) in [0, 1].

    Raises:
        ContractError: maps of another network.
    """
    if maps.shape[1:] != (CELLS, CELLS, CHANNELS):
        raise ContractError(f"maps (N, {CELLS}, {CELLS}, {CHANNELS})", f"{maps.shape}")
    weights, bias = _weights()
    return np.clip(np.einsum("nijc,ijc->nij", maps, weights) + bias, 0, 1).astype(np.float32)


@lru_cache(maxsize=1)
def face_cells() -> NDArray[np.float32]:
    """Weights (7, 7) of the cells, adding up to 1: each cell's share of the face."""
    cells = face_region().reshape(CELLS, ARCFACE.height // CELLS, CELLS, ARCFACE.width // CELLS).mean((1, 3))
    return (cells / cells.sum()).astype(np.float32)


def face_region() -> NDArray[np.bool_]:
    """Which pixels (112, 112) of an ArcFace crop are face."""
    x = ((np.arange(ARCFACE.width) + 0.5) / ARCFACE.width - _CENTRE[0]) / _RADII[0]
    y = ((np.arange(ARCFACE.height) + 0.5) / ARCFACE.height - _CENTRE[1]) / _RADII[1]
    return x[None, :] ** 2 + y[:, None] ** 2 <= 1


def strength_for(hidden: float) -> float:
    """Share of the strength asked for that a covered face gets: 1 up to MUCH, then falling to 0 at twice as much.

    A network for faces paints a face over what covers it; the more is covered, the less of the rest can be trusted.
    """
    return float(np.clip((2 * MUCH - hidden) / MUCH, 0, 1))


@lru_cache(maxsize=1)
def _weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return stored["weights"].astype(np.float32), stored["bias"].astype(np.float32)
