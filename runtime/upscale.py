"""Enlarging a photograph by 2 or 4: a classical filter, or a super-resolution network of the user's.

The network sees tiles that overlap, so that its memory does not grow with the photograph.
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

from .decode import MOST_PIXELS, Pixels
from .errors import BackendError, InputError
from .images import Photo, to_float, to_pixels

# (1, 3, H, W) float32 RGB in [0, 1] -> (1, 3, f * H, f * W).
Enlarger: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_TILE, _OVERLAP = 256, 16
_SPANDREL = (".pth", ".pt", ".ckpt", ".safetensors")
_INSTALL = {".backends.onnx_runtime": "onnxruntime", ".models.super_resolution": "'pocketface[teachers]'"}


def upscale_photo(photo: Photo, factor: int, network: Enlarger | None = None) -> Photo:
    """Enlarge a photograph; its resolution grows with it, so that prints keep their size.

    Args:
        photo: any depth; alpha is enlarged by the classical filter.
        factor: 1, 2 or 4; 1 gives back the very photograph.
        network: super-resolution network; one of another factor is applied and resampled to this one. None is
            Lanczos resampling.

    Raises:
        InputError: what comes out would have more than MOST_PIXELS.
    """
    if factor == 1:
        return photo
    if photo.rgb[:, :, 0].size * factor**2 > MOST_PIXELS:
        most = f"at most {MOST_PIXELS // 1_000_000} megapixels after enlarging"
        raise InputError(most, f"{factor} times {photo.rgb.shape[1]} x {photo.rgb.shape[0]}", "ask for less")
    size = (photo.rgb.shape[1] * factor, photo.rgb.shape[0] * factor)
    rgb = resample(photo.rgb, size) if network is None else _by_tiles(photo.rgb, factor, network)
    if photo.grey and network is not None:
        rgb = np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2).astype(rgb.dtype, copy=False)
    alpha = None if photo.alpha is None else resample(photo.alpha, size)
    ink = None if photo.ink is None else replace(photo.ink, pixels=resample(photo.ink.pixels, size))
    dpi = photo.metadata.dpi
    metadata = replace(photo.metadata, dpi=None if dpi is None else (dpi[0] * factor, dpi[1] * factor))
    return replace(photo, rgb=rgb, alpha=alpha, metadata=metadata, ink=ink)


def resample(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Enlarge (H, W) or (H, W, C) to width and height `size` by a Lanczos filter; same type."""
    return cast("Pixels", cv2.resize(pixels, size, interpolation=cv2.INTER_LANCZOS4).astype(pixels.dtype, copy=False))


def _by_tiles(rgb: Pixels, factor: int, network: Enlarger) -> Pixels:
    """Run a network over a photograph (H, W, 3), tile by tile."""
    height, width = rgb.shape[:2]
    enlarged = np.empty((height * factor, width * factor, 3), rgb.dtype)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            bottom, right = min(height, top + _TILE), min(width, left + _TILE)
            rows = np.arange(top - _OVERLAP, bottom + _OVERLAP)
            columns = np.arange(left - _OVERLAP, right + _OVERLAP)
            # What lies beyond the edge is mirrored, so that the edge gets the same context as the rest.
            tile = rgb[_mirrored(rows, height)[:, None], _mirrored(columns, width)]
            found = _enlarge(to_float(tile), factor, network)
            inner = found[
                _OVERLAP * factor : (_OVERLAP + bottom - top) * factor,
                _OVERLAP * factor : (_OVERLAP + right - left) * factor,
            ]
            enlarged[top * factor : bottom * factor, left * factor : right * factor] = to_pixels(inner, rgb.dtype)
    return enlarged


def _mirrored(places: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    period = max(1, 2 * (size - 1))
    folded = np.abs(places) % period
    return np.minimum(folded, period - folded)


def _enlarge(tile: NDArray[np.float32], factor: int, network: Enlarger) -> NDArray[np.float32]:
    found = network(np.ascontiguousarray(tile.transpose(2, 0, 1)[None]))[0].transpose(1, 2, 0)
    own = found.shape[0] / tile.shape[0]
    if found.shape != (round(tile.shape[0] * own), round(tile.shape[1] * own), 3) or own < 1:
        raise BackendError("a network that enlarges RGB pictures", f"{found.shape} from {tile.shape}")
    if own != factor:
        size = (tile.shape[1] * factor, tile.shape[0] * factor)
        way = cv2.INTER_AREA if own > factor else cv2.INTER_LANCZOS4
        found = cv2.resize(np.ascontiguousarray(found), size, interpolation=way)
    return np.asarray(found, np.float32)


def open_enlarger(path: Path, *, device: str = "auto", threads: int | None = None) -> Enlarger:
    """Open a super-resolution network.

    Args:
        path: an `.onnx` file that takes and gives (1, 3, H, W) RGB in [0, 1], any H and W, or a file of any
            super-resolution network that spandrel knows.
        device: where to run it.
        threads: CPU threads; None leaves the engine's choice.

    Raises:
        InputError: no such file, or another suffix.
        BackendError: the engine is not installed, lacks the device, or refuses the file.
        CheckpointError: a file that spandrel does not know, or of a network that does something else.
    """
    if path.suffix not in (".onnx", *_SPANDREL):
        raise InputError(f"a super-resolution network ending in .onnx, {', '.join(_SPANDREL)}", f"'{path}'")
    if not path.is_file():
        raise InputError("a super-resolution network's file", f"nothing at {path}")
    engine = ".backends.onnx_runtime" if path.suffix == ".onnx" else ".models.super_resolution"
    try:
        module = importlib.import_module(engine, __package__)
    except ImportError as error:
        needed = f"what a {path.suffix} file needs"
        raise BackendError(needed, f"no {error.name}", f"run: pip install {_INSTALL[engine]}") from error
    if path.suffix != ".onnx":
        return module.load_enlarger(path, device=device, threads=threads)
    session = module.open_session(path, device=device, threads=threads)
    name = session.get_inputs()[0].name
    return lambda tile: np.asarray(session.run(None, {name: tile})[0], np.float32)
