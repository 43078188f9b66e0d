"""Sample sheets: what the network in training makes of faces that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..runtime.atomic import replacing_file
from ..runtime.faces.degrade import degrade_face
from ..runtime.images import to_faces, to_pixels

Pixels = NDArray[np.uint8]
LEVELS = ("medium", "severe")
_DEPTH = np.dtype(np.uint8)


class SampleSheet:
    """A picture with a row for each face: original, and for each level the input and what was made of it.

    Args:
        faces: a few aligned faces, (S, S, 3) uint8 RGB.
        folder: where sheets go, as `step_000250.jpg`.
    """

    def __init__(self, faces: Sequence[Pixels], folder: Path) -> None:
        self._faces, self._folder = faces, folder
        self._aged = {level: [degrade_face(face, level, seed) for seed, face in enumerate(faces)] for level in LEVELS}

    def write(self, model: nn.Module, step: int) -> Path:
        """Restore the faces with a network in eval mode and write the sheet of one step."""
        columns = [np.concatenate(list(self._faces))]
        device = next(model.parameters()).device
        for aged in self._aged.values():
            with torch.inference_mode():
                restored = model(torch.from_numpy(to_faces(aged)).to(device)).clamp(0, 1).float().cpu().numpy()
            columns += [np.concatenate(aged), to_pixels(np.concatenate(list(restored.transpose(0, 2, 3, 1))), _DEPTH)]
        path = self._folder / f"step_{step:06d}.jpg"
        with replacing_file(path) as temporary:
            cv2.imwrite(str(temporary), cv2.cvtColor(np.concatenate(columns, axis=1), cv2.COLOR_RGB2BGR))
        return path
