"""Who is in a face, on the base install: the shipped identity network as a TFLite file, without torch.

Convention: faces are (N, 3, S, S) float32 RGB in [0, 1], aligned with the FFHQ template; embeddings (N, D) have unit
length, so that their scalar product is the cosine of identity.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..backends.litert import find_interpreter
from ..errors import ContractError
from ..restorer import Faces
from .align import ARCFACE, FFHQ, align_face, fit_similarity

# (N, 3, S, S) aligned with the FFHQ template -> (N, D) of unit length.
Embedder: TypeAlias = Callable[[Faces], NDArray[np.float32]]

_SHIPPED = Path(__file__).parents[1] / "weights" / "identity_fp16.tflite"
_BATCH = 32


class IdentityNetwork:
    """MobileFaceNet on LiteRT; it holds its tensors, so each thread needs its own.

    Args:
        path: a file that `pocketface.export.identity` wrote; None takes the shipped one.
        threads: CPU threads; None leaves the interpreter's choice.

    Raises:
        BackendError: no TFLite interpreter is installed.
    """

    def __init__(self, path: Path | None = None, threads: int | None = None) -> None:
        _, interpreter_class = find_interpreter()
        self._interpreter: Any = interpreter_class(model_path=str(path or _SHIPPED), num_threads=threads)
        self._input = int(self._interpreter.get_input_details()[0]["index"])
        self._outputs = [int(detail["index"]) for detail in self._interpreter.get_output_details()]
        self._count = 0

    def __call__(self, faces: Faces) -> NDArray[np.float32]:
        """Embed faces (N, 3, S, S).

        Raises:
            ContractError: faces that are not square RGB, or none.
        """
        return self.embed_and_map(faces)[0]

    def embed_and_map(self, faces: Faces) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embeddings (N, D) of faces (N, 3, S, S), and the network's last map (N, 7, 7, 512).

        Raises:
            ContractError: faces that are not square RGB, or none.
        """
        crops = to_identity_crops(faces)
        parts = [self._run(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
        found, maps = (np.concatenate(part) for part in zip(*parts, strict=True))
        found = found.reshape(len(crops), -1)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-12)), maps

    def _run(self, crops: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if len(crops) != self._count:
            self._interpreter.resize_tensor_input(self._input, crops.shape)
            self._interpreter.allocate_tensors()
            self._count = len(crops)
        self._interpreter.set_tensor(self._input, (crops * np.float32(255) - np.float32(127.5)) / np.float32(128))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def to_identity_crops(faces: Faces) -> NDArray[np.float32]:
    """Resample restoration crops to ArcFace crops (N, 112, 112, 3); one fixed similarity serves every face.

    Raises:
        ContractError: faces that are not square RGB, or none.
    """
    if faces.ndim != 4 or faces.shape[1] != 3 or faces.shape[2] != faces.shape[3] or not len(faces):
        raise ContractError("square faces (N, 3, S, S)", f"{faces.shape}")
    matrix = fit_similarity(FFHQ.scaled(faces.shape[3]), ARCFACE.scaled(ARCFACE.width))
    pictures = faces.transpose(0, 2, 3, 1)
    return np.stack([align_face(np.ascontiguousarray(one), matrix, ARCFACE.width) for one in pictures])
