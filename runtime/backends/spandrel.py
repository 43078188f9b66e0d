"""Published networks: runs a `.pth` of GFPGAN, CodeFormer, RestoreFormer (++) or Real-ESRGAN in PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch

from ..models.zoo import load_public
from ..restorer import Restorer
from .pytorch import PytorchRestorer, find_device


def open(path: Path, *, device: str = "auto", threads: int | None = None) -> Restorer:  # noqa: A001 - every backend's door
    """Open published weights.

    Args:
        path: a `.pth`, `.pt` or `.ckpt` file of an architecture that `models/zoo.py` knows.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; `auto` takes CUDA before MPS before the CPU.
        threads: CPU threads; PyTorch has one setting for the whole process, which stays as it is where None is given.

    Raises:
        BackendError: spandrel is not installed, PyTorch lacks the device, or the architecture is not known here.
        CheckpointError: the file is damaged, holds more than tensors, or holds no restorer.
    """
    place = find_device(device)
    model, facts = load_public(path, str(place))
    if threads is not None:
        torch.set_num_threads(threads)
    # GFPGAN's weights have five axes, for which there is no channels-last; super-resolvers gain a third by it.
    layout = None if facts.size is None else torch.contiguous_format
    return PytorchRestorer(model, facts.name, facts.sha256, place, facts.size, layout)
