"""Other people's PyTorch files: weights in a pickle, read without running what it might hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import CheckpointError


def read_pickled(path: Path) -> Mapping[str, object]:
    """Read a `.pt`, `.pth` or `.ckpt` file onto the CPU; only tensors and plain containers are let in.

    Raises:
        CheckpointError: no such file, damaged, other objects inside, or something else than a dictionary.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises whatever a damaged or hostile file leads it into
        raise CheckpointError(
            "a whole PyTorch checkpoint of tensors alone", f"{path}: {type(error).__name__}", "fetch it again"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError("a dictionary of weights", f"{type(content).__name__} in {path}")
    return content
