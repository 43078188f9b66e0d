"""Computes what an `.mlpackage` says, in PyTorch, where there is no Core ML.

It proves the package's graph and weights, not Apple's arithmetic: half precision is rounded after every operation,
while sums inside one are kept in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BackendError
from ..manifest import hash_artefact
from ..restorer import Faces, Restorer, RestorerInfo
from .batches import restore_in_batches
from .mlpackage import COMPRESSED, constant_of, read_package, read_program

_HALF_BITS = 16
_CONSTANTS = ("const", COMPRESSED)


def open(path: Path, *, device: str = "auto", threads: int | None = None) -> Restorer:  # noqa: A001 - every backend's door
    """Open a package for computing on the CPU.

    Args:
        path: an `.mlpackage` folder.
        device: `auto` or `cpu`.
        threads: CPU threads; PyTorch has one setting for the whole process, which stays as it is where None is given.

    Raises:
        BackendError: another device, no coremltools, or a package that is damaged or uses other operations.
    """
    if device not in ("auto", "cpu"):
        raise BackendError("the device cpu: Core ML itself runs on a Mac only", f"'{device}'", "use --device cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    return MilRestorer(path)


class MilRestorer:
    """A Core ML program under the contract.

    Args:
        path: an `.mlpackage` folder.

    Raises:
        BackendError: see `open`.
    """

    def __init__(self, path: Path) -> None:
        package = read_package(path)
        self._given, self._restored = package.given, package.restored
        operations = read_program(package).functions["main"].operations
        self._steps = [_Step(operation) for operation in operations if operation.op_type not in _CONSTANTS]
        name = package.facts.get("name", path.stem)
        self._info = RestorerInfo(name, "mil", "cpu", package.size, 1, package.size, hash_artefact(path))

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        return self._info

    def __call__(self, faces: Faces) -> Faces:
        """Restore faces (N, 3, S, S)."""
        return restore_in_batches(self._run, faces, self._info, limit=1)

    def _run(self, faces: Faces) -> Faces:
        values = {self._given: torch.from_numpy(faces)}
        with torch.inference_mode():
            for step in self._steps:
                step.run(values)
        return values[self._restored].numpy()


class _Step:
    """One operation: which tensors it reads, its constant settings, and the type its result is rounded to."""

    def __init__(self, operation: Any) -> None:
        self.kind, self.name = str(operation.op_type), str(operation.outputs[0].name)
        if self.kind not in _OPERATIONS:
            raise BackendError(f"an operation of {', '.join(_OPERATIONS)}", f"{self.kind} ({self.name})")
        self.tensors: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        for key, value in operation.inputs.items():
            constant = constant_of(value)
            if constant is None:
                self.tensors[key] = value.name
            else:
                self.settings[key] = constant
        self._half = operation.outputs[0].dtype.get_bitwidth() == _HALF_BITS

    def run(self, values: dict[str, Tensor]) -> None:
        result = _OPERATIONS[self.kind]({key: values[name] for key, name in self.tensors.items()}, self.settings)
        values[self.name] = result.half().float() if self._half else result


def _convolution(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    x = tensors["x"]
    if settings.get("pad_type", "valid") == "custom":
        top, bottom, left, right = (int(side) for side in settings["pad"])
        x = F.pad(x, (left, right, top, bottom))
    elif settings.get("pad_type", "valid") != "valid":
        raise BackendError("padding of type custom or valid", str(settings["pad_type"]))
    bias = settings.get("bias")
    return F.conv2d(
        x,
        _float(settings["weight"]),
        None if bias is None else _float(bias),
        stride=_ints(settings.get("strides", (1, 1))),
        dilation=_ints(settings.get("dilations", (1, 1))),
        groups=int(settings.get("groups", 1)),
    )


def _upsample(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    factors = (float(settings["scale_factor_height"]), float(settings["scale_factor_width"]))
    return F.interpolate(
        tensors["x"], scale_factor=factors, mode="bilinear", align_corners=bool(settings["align_corners"])
    )


def _float(value: Any) -> Tensor:
    return torch.from_numpy(np.asarray(value, np.float32))


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


# (tensors by argument, constants by argument) -> result; what our networks use, and no more.
_OPERATIONS: dict[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], Tensor]] = {
    "conv": _convolution,
    "leaky_relu": lambda tensors, settings: F.leaky_relu(tensors["x"], float(settings["alpha"])),
    "add": lambda tensors, _: tensors["x"] + tensors["y"],
    "upsample_bilinear": _upsample,
    "pixel_shuffle": lambda tensors, settings: F.pixel_shuffle(tensors["x"], int(settings["upscale_factor"])),
    "clip": lambda tensors, settings: tensors["x"].clamp(float(settings["alpha"]), float(settings["beta"])),
    "cast": lambda tensors, _: tensors["x"],  # the result's type does the rounding
}
