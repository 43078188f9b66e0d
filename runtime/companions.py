"""The networks that stand beside restorer and detector, opened once and used for many photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .options import PhotoOptions
from .restorer import Faces

# (N, 3, S, S) aligned with the FFHQ template -> (N, D) of unit length.
Embedder: TypeAlias = Callable[[Faces], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Companions:
    """What a photograph's options ask for besides a restorer and a detector; each thread needs its own.

    Args:
        identity: tells who is in a face, or None.
        reference: (D,) embedding of the person to look for, or None.
    """

    identity: Embedder | None = None
    reference: NDArray[np.float32] | None = None


def open_companions(options: PhotoOptions, *, threads: int | None = None) -> Companions:  # noqa: ARG001
    """Open what the options ask for, and nothing else.

    Args:
        options: the wishes.
        threads: CPU threads; None leaves each engine's choice.
    """
    return Companions()
