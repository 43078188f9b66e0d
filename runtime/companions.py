"""The networks that stand beside restorer and detector, opened once and used for many photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .colouriser import Colouriser, open_colouriser
from .errors import ImageError
from .faces.align import FFHQ, align_face, estimate_similarity
from .faces.choose import shorter_side
from .faces.detect import Detector
from .faces.identity import IdentityNetwork
from .faces.turned import detect_any_way_up
from .images import read_photo, to_faces
from .options import PhotoOptions
from .upscale import Enlarger, open_enlarger

_REFERENCE_SIDE = 256  # of the reference face's crop; the identity network needs no more than 112


@dataclass(frozen=True, eq=False)
class Companions:
    """What a photograph's options ask for besides a restorer and a detector; each thread needs its own.

    Args:
        identity: tells who is in a face and how much of it is covered, or None.
        reference: (D,) embedding of the person to look for, or None.
        enlarger: super-resolution network for the background, or None.
        colouriser: colours grey photographs, or None.
    """

    identity: IdentityNetwork | None = None
    reference: NDArray[np.float32] | None = None
    enlarger: Enlarger | None = None
    colouriser: Colouriser | None = None


def open_companions(
    options: PhotoOptions, detector: Detector, *, device: str = "auto", threads: int | None = None
) -> Companions:
    """Open what the options ask for, and nothing else.

    Args:
        options: the wishes.
        detector: finds the reference person's face.
        device: where networks run that can choose.
        threads: CPU threads; None leaves each engine's choice.

    Raises:
        PocketFaceError: a file that is missing, damaged or of another kind, or an engine that is not installed.
        ImageError: a reference photograph that cannot be read, or without a face.
    """
    wanted = options.guard is not None or options.hidden != "ignore" or options.reference is not None
    identity = IdentityNetwork(threads=threads) if wanted else None
    reference = None
    if identity is not None and options.reference is not None:
        reference = embed_person(options.reference, detector, identity)
    enlarger = colouriser = None
    if options.upscaler is not None:
        enlarger = open_enlarger(options.upscaler, device=device, threads=threads)
    if options.colouriser is not None:
        colouriser = open_colouriser(options.colouriser, device=device, threads=threads)
    return Companions(identity, reference, enlarger, colouriser)


def embed_person(path: Path, detector: Detector, identity: IdentityNetwork) -> NDArray[np.float32]:
    """Embed the largest face of a photograph: (D,), unit length.

    Raises:
        ImageError: no photograph, or none with a face.
    """
    rgb = read_photo(path).rgb
    found = detect_any_way_up(detector, rgb)
    if not found:
        raise ImageError("a reference photograph with a face", f"none found in {path}", "choose another photograph")
    largest = max(found, key=shorter_side)
    matrix = estimate_similarity(largest.landmarks, FFHQ, _REFERENCE_SIDE)
    return identity(to_faces([align_face(rgb, matrix, _REFERENCE_SIDE)]))[0]
