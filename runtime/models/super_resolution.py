"""Super-resolution networks by their published weights, of any architecture that spandrel knows.

Faces need care that differs by architecture (`zoo`); for enlarging spandrel's own call has it all: it pads pictures to
what the network asks for, works in [0, 1] and gives back the enlarged size.

Source: spandrel (MIT; the networks inside under their own terms).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..backends.pytorch import find_device
from ..errors import CheckpointError
from ..upscale import Enlarger
from .zoo import first_line, import_spandrel, read_state


def load_enlarger(path: Path, *, device: str = "auto", threads: int | None = None) -> Enlarger:
    """Rebuild a super-resolution network from its file.

    Args:
        path: a `.pth`, `.pt` or `.ckpt` file, of which nothing but tensors and plain containers is unpickled, or a
            `.safetensors` file.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        threads: CPU threads; PyTorch has one setting for the whole process, which stays as it is where None is given.

    Raises:
        BackendError: spandrel is not installed, or PyTorch lacks the device.
        CheckpointError: no file of weights, one that no architecture fits, or a network that does something else.
    """
    spandrel, place = import_spandrel(), find_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    state = _read_safetensors(path) if path.suffix == ".safetensors" else read_state(path, spandrel)
    try:
        found = spandrel.ModelLoader(device=place).load_from_state_dict(state)
    except Exception as error:  # unknown architectures, wrong shapes and missing keys arrive as many kinds
        raise CheckpointError("a network that spandrel knows", f"{path}: {first_line(error)}") from error
    purpose, ends = found.purpose, (found.input_channels, found.output_channels)
    if not isinstance(found, spandrel.ImageModelDescriptor) or purpose != "SR" or ends != (3, 3):
        what = f"{purpose}, {ends[0]} -> {ends[1]} channels, in {path}"
        raise CheckpointError("a super-resolution network (SR) for RGB", what)
    found.eval()

    def enlarge(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return found(torch.from_numpy(tile).to(place)).float().cpu().numpy()

    return enlarge


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError("a whole safetensors file", f"{path}: {first_line(error)}", "fetch it again") from error
