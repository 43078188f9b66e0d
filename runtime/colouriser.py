"""Colour for grey photographs, by a network that the user brings as an ONNX file; none is shipped.

The contract is that of the public DeOldify exports: (1, 3, S, S) float32, RGB levels 0 to 255 of the grey picture in,
the coloured picture in the same form out. Only its colour is used: brightness stays the photograph's own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from .decode import Pixels
from .errors import BackendError, InputError
from .images import Photo, to_float, to_pixels, to_uint8

# (H, W, 3) uint8 grey RGB -> (S, S, 3) float32 RGB in [0, 1].
Colouriser: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_SIDE = 256  # where the file leaves it open
_ROWS = 512  # at a time: the conversion in float shall not need memory for the whole photograph


def colourise(photo: Photo, colouriser: Colouriser) -> Photo:
    """Colour a grey photograph; one that has colour comes back as it is.

    Returns:
        A photograph of the same size and depth that is no longer grey; a grey profile, which cannot hold, is left out.
    """
    if not photo.grey:
        return photo
    coloured = colouriser(to_uint8(photo.rgb))
    chroma = np.asarray(cv2.cvtColor(coloured, cv2.COLOR_RGB2YCrCb), np.float32)[:, :, 1:]
    rgb = _with_chroma(photo.rgb, chroma)
    icc = photo.metadata.icc
    keeps = icc is None or icc[16:20] == b"RGB "
    return replace(photo, rgb=rgb, grey=False, metadata=photo.metadata if keeps else replace(photo.metadata, icc=None))


def _with_chroma(rgb: Pixels, chroma: NDArray[np.float32]) -> Pixels:
    """Lay colour (S, S, 2) over a grey photograph (H, W, 3), some rows at a time."""
    height, width = rgb.shape[:2]
    done = np.empty_like(rgb)
    for top in range(0, height, _ROWS):
        bottom = min(height, top + _ROWS)
        # A strip of the enlarged colour: pixel centres of both pictures lie on (x + 0.5) / size.
        scale = np.array([[chroma.shape[1] / width, 0, 0], [0, chroma.shape[0] / height, 0]])
        scale[:, 2] = scale[:, :2] @ (0.5, 0.5 + top) - 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        colour = cv2.warpAffine(
            np.ascontiguousarray(chroma), scale, (width, bottom - top), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        luma = to_float(rgb[top:bottom, :, :1])
        strip = cv2.cvtColor(np.concatenate([luma, colour], axis=2).astype(np.float32), cv2.COLOR_YCrCb2RGB)
        done[top:bottom] = to_pixels(np.asarray(strip, np.float32), rgb.dtype)
    return done


def open_colouriser(path: Path, *, device: str = "auto", threads: int | None = None) -> Colouriser:
    """Open a colouriser.

    Args:
        path: an `.onnx` file.
        device: `cpu`, `cuda`, ... or `auto`.
        threads: CPU threads; None leaves ONNX Runtime's choice.

    Raises:
        InputError: no such file, or another suffix.
        BackendError: ONNX Runtime is not installed or refuses the file, or the network takes something else.
    """
    if path.suffix != ".onnx" or not path.is_file():
        raise InputError("a colouriser's .onnx file", f"'{path}'" if path.exists() else f"nothing at {path}")
    try:
        engine = importlib.import_module(".backends.onnx_runtime", __package__)
    except ImportError as error:
        raise BackendError(
            "ONNX Runtime, which runs colourisers", f"no {error.name}", "pip install onnxruntime"
        ) from error
    session = engine.open_session(path, device=device, threads=threads)
    given = session.get_inputs()[0]
    shape = list(given.shape)
    if len(session.get_inputs()) != 1 or len(shape) != 4 or shape[1] != 3:
        raise BackendError("one input (1, 3, S, S)", f"{[one.shape for one in session.get_inputs()]} in {path}")
    height, width = (side if isinstance(side, int) else _SIDE for side in shape[2:])

    def colour(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = cast("NDArray[np.uint8]", cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA))
        levels = np.ascontiguousarray(small.astype(np.float32).transpose(2, 0, 1)[None])
        found = np.asarray(session.run(None, {given.name: levels})[0], np.float32)
        if found.shape != levels.shape:
            raise BackendError(f"a coloured picture {levels.shape}", f"{found.shape} from {path}")
        return np.ascontiguousarray(np.clip(found[0].transpose(1, 2, 0) / np.float32(255), 0, 1))

    return colour
