"""Computes what an `.mlpackage` says, in PyTorch, where there is no Core ML.

It proves the package's graph and weights, not Apple's arithmetic: half precision is rounded after every operation,
while sums inside one are kept in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BackendError
from ..restorer import STRENGTH, Faces, Restorer, RestorerInfo, check_strength
from .batches import mixed, restore_in_batches
from .mil_operations import OPERATIONS
from .mlpackage import COMPRESSED, constant_of, read_package, read_program

_HALF_BITS = 16
_CONSTANTS = ("const", *COMPRESSED)


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
        half: round to half precision where the program says so; False computes all of it in float32, which tells an
            error of the graph from one of the arithmetic.

    Raises:
        BackendError: see `open`.
    """

    def __init__(self, path: Path, *, half: bool = True) -> None:
        self._package = read_package(path)
        self._program = MilProgram(read_program(self._package).functions["main"], str(path), half=half)
        self._info = self._package.info(path, "mil", "cpu")

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        return self._info

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        """Restore faces (N, 3, S, S)."""
        if not self._package.has_strength:
            return restore_in_batches(mixed(self._run, strength), faces, self._info, limit=1)
        own = {STRENGTH: torch.full((1,), check_strength(strength))}
        return restore_in_batches(lambda part: self._run(part, own), faces, self._info, limit=1)

    def _run(self, faces: Faces, more: Mapping[str, Tensor] = MappingProxyType({})) -> Faces:
        self._package.check_size(faces.shape[-1])
        scale = 255.0 if self._package.images else 1.0
        given = torch.from_numpy(np.rint(faces * np.float32(scale)) if self._package.images else faces)
        restored = self._program.run({self._package.given: given, **more})[0].numpy()
        return np.ascontiguousarray(restored, np.float32) / np.float32(scale)


class MilProgram:
    """One function of a program, ready to run.

    Args:
        function: coremltools' own form of it.
        where: for messages: the file that it comes from.
        half: round to half precision where the program says so.

    Raises:
        BackendError: an operation or setting that is not known here; names its place.
    """

    def __init__(self, function: Any, where: str, *, half: bool = True) -> None:
        operations = [operation for operation in function.operations if operation.op_type not in _CONSTANTS]
        self._outputs = [str(value.name) for value in function.outputs]
        self._steps = []
        for number, operation in enumerate(operations):
            place = f"operation {number + 1} of {len(operations)}, {operation.name}, in {where}"
            self._steps.append(_Step(operation, place, half=half))
        last = {name: i for i, step in enumerate(self._steps) for name in step.read}
        for i, step in enumerate(self._steps):  # what nobody reads any more is forgotten: memory stays small
            step.spent = [name for name in step.read if last[name] == i and name not in self._outputs]

    def run(self, given: dict[str, Tensor]) -> list[Tensor]:
        """Compute the outputs, in order, from inputs by name."""
        values = {name: _fast(value) for name, value in given.items()}
        with torch.inference_mode():
            for step in self._steps:
                step.run(values)
        return [values[name] for name in self._outputs]


class _Step:
    """One operation: which tensors it reads, and the type its result is rounded to."""

    def __init__(self, operation: Any, place: str, *, half: bool) -> None:
        kind = str(operation.op_type)
        if kind not in OPERATIONS:
            raise BackendError(f"an operation of {', '.join(OPERATIONS)}", f"{kind}: {place}", "extend mil_operations")
        self.name = str(operation.outputs[0].name)
        self._tensors: dict[str, str | list[str]] = {}
        settings: dict[str, Any] = {}
        for key, value in operation.inputs.items():
            if isinstance(value, (list, tuple)):
                self._tensors[key] = [str(one.name) for one in value]
            elif constant_of(value) is None:
                self._tensors[key] = str(value.name)
            else:
                settings[key] = constant_of(value)
        try:
            self._compute = OPERATIONS[kind](settings)
        except (BackendError, KeyError) as error:
            raise BackendError("settings that are known here", f"{error}: {kind}: {place}") from error
        self._half = half and operation.outputs[0].dtype.get_bitwidth() == _HALF_BITS
        names = (one if isinstance(one, list) else [one] for one in self._tensors.values())
        self.read = [name for several in names for name in several]
        self.spent: list[str] = []

    def run(self, values: dict[str, Tensor]) -> None:
        given = {
            key: [values[name] for name in names] if isinstance(names, list) else values[names]
            for key, names in self._tensors.items()
        }
        result = self._compute(given)
        values[self.name] = result.half().float() if self._half else result
        for name in self.spent:
            values.pop(name, None)


def _fast(value: Tensor) -> Tensor:
    """Images channels last: convolutions on a CPU are fastest so (docs/experiments.md)."""
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
