"""PyTorch: runs a checkpoint of a student or a teacher on CPU, CUDA or MPS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import BackendError, CheckpointError
from ..models.checkpoint import load_model
from ..restorer import Faces, Restorer, RestorerInfo
from .batches import mixed, restore_in_batches

RESTORERS = ("student", "teacher")
_NATIVE_SIZE = 256
_BATCH = 8


def open(path: Path, *, device: str = "auto", threads: int | None = None) -> Restorer:  # noqa: A001 - every backend's door
    """Open a checkpoint.

    Args:
        path: a `.safetensors` file of a student or a teacher.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; `auto` takes CUDA before MPS before the CPU.
        threads: CPU threads; PyTorch has one setting for the whole process, which stays as it is where None is given.

    Raises:
        BackendError: PyTorch lacks the device.
        CheckpointError: the file is damaged or holds no restorer.
    """
    place = find_device(device)
    model, info = load_model(path)
    if info.architecture not in RESTORERS:
        raise CheckpointError("a checkpoint of a student or a teacher", f"a {info.architecture} in {path}")
    if threads is not None:
        torch.set_num_threads(threads)
    return PytorchRestorer(model, path.stem.replace("_", "-"), info.sha256, place)


class PytorchRestorer:
    """A student or a teacher under the contract.

    Args:
        model: (N, 3, S, S) -> the same, with `config.multiple`; put into eval mode and moved to the device.
        name: for people.
        sha256: of the checkpoint; empty for a network that was never saved.
        device: where to run; None is the CPU.
        size: the only S that the network takes; None takes every multiple.
        layout: of feature maps in memory; None is channels-last on a CPU, which is 12 % faster for our networks there
            (docs/experiments.md), and leaves GPUs to choose for themselves.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        sha256: str = "",
        device: torch.device | None = None,
        size: int | None = None,
        layout: torch.memory_format | None = None,
    ) -> None:
        self._device = torch.device("cpu") if device is None else device
        on_cpu = self._device.type == "cpu"
        self._layout = layout or (torch.channels_last if on_cpu else torch.contiguous_format)
        self._model = model.eval().to(self._device)
        self._model.to(memory_format=self._layout)  # pyright: ignore[reportCallIssue] - missing from torch's stub
        multiple = int(getattr(model.config, "multiple", 1))
        native = _NATIVE_SIZE if size is None else size
        self._info = RestorerInfo(name, "pytorch", str(self._device), size, multiple, native, sha256)

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        return self._info

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        """Restore faces (N, 3, S, S); S a multiple of `info.multiple`."""
        return restore_in_batches(mixed(self._run, strength), faces, self._info, _BATCH)

    def _run(self, faces: Faces) -> Faces:
        # TF32 keeps 11 bits: a reference that rounds so would blame every exported file for its own error.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            given = torch.from_numpy(faces).to(self._device, memory_format=self._layout)
            return np.ascontiguousarray(self._model(given).float().cpu().numpy())


def find_device(name: str) -> torch.device:
    """Return the device that a name means; `auto` takes CUDA before MPS before the CPU.

    Raises:
        BackendError: PyTorch lacks it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(f"a device that PyTorch has here, not '{name}'", reason, "use --device cpu") from error
    return place
