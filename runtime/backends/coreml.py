"""Core ML: runs an `.mlpackage` on a Mac. Elsewhere `mil` computes what the package says."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from ..errors import BackendError
from ..restorer import STRENGTH, Faces, Restorer, RestorerInfo, check_strength
from .batches import mixed, restore_in_batches
from .mlpackage import Package, import_coremltools, read_package

# Core ML may always fall back to the CPU for single operations; these are its own names for what it may use.
_UNITS = {"auto": "CPU_ONLY", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ane": "CPU_AND_NE"}


def open(path: Path, *, device: str = "auto", threads: int | None = None) -> Restorer:  # noqa: A001, ARG001 - every backend's door; Core ML chooses its own threads
    """Open a package in Core ML.

    Args:
        path: an `.mlpackage` folder.
        device: `auto` and `cpu`, `gpu`, or `ane` (the Neural Engine).
        threads: Core ML has no such setting.

    Raises:
        BackendError: not a Mac, no coremltools, an unknown device, or a package that Core ML refuses.
    """
    if sys.platform != "darwin":
        raise BackendError("macOS, the only system with Core ML", sys.platform, "open_restorer computes packages here")
    if device not in _UNITS:
        raise BackendError(f"a device of {', '.join(_UNITS)}", f"'{device}'")
    package, tools = read_package(path), import_coremltools()
    try:
        model = tools.models.MLModel(str(path), compute_units=getattr(tools.ComputeUnit, _UNITS[device]))
    except Exception as error:  # Objective-C errors arrive as bare RuntimeError and more
        raise BackendError("a package that Core ML compiles", f"{path}: {error}", "export it again") from error
    return CoremlRestorer(model, package, path, "cpu" if device == "auto" else device)


class CoremlRestorer:
    """A compiled package under the contract.

    Args:
        model: coremltools' `MLModel`, or anything with its `predict(dict) -> dict`.
        package: what the file says of itself.
        path: where it is.
        device: for people.
    """

    def __init__(self, model: Any, package: Package, path: Path, device: str) -> None:
        self._model, self._package = model, package
        self._info = package.info(path, "coreml", device)

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        return self._info

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        """Restore faces (N, 3, S, S)."""
        if not self._package.has_strength:
            return restore_in_batches(mixed(self._run, strength), faces, self._info, limit=1)
        own = {STRENGTH: np.full(1, check_strength(strength), np.float32)}
        return restore_in_batches(lambda part: self._run(part, own), faces, self._info, limit=1)

    def _run(self, faces: Faces, more: Mapping[str, Any] = MappingProxyType({})) -> Faces:
        self._package.check_size(faces.shape[-1])
        if not self._package.images:
            answer = self._model.predict({self._package.given: faces, **more})[self._package.restored]
            return np.asarray(answer, np.float32)
        pixels = np.rint(faces[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        answer = self._model.predict({self._package.given: Image.fromarray(pixels), **more})[self._package.restored]
        return np.asarray(answer.convert("RGB"), np.float32).transpose(2, 0, 1)[None] / np.float32(255)
