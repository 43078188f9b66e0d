"""Teachers: whatever restores faces, as something that a student can follow in training.

Our own checkpoints, other people's published weights, and files of any engine stand behind one call. Networks of a
fixed size get faces of that size and their result is resized back, antialiased, so that a network for 512 x 512 teaches
a student at 256 x 256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.backends import ENGINES, open_restorer
from ..runtime.backends.onnx_statement import side_file
from ..runtime.errors import CheckpointError, InputError, RecipeError
from ..runtime.models.checkpoint import load_model
from ..runtime.models.student import StudentRestorer
from ..runtime.models.teacher import TeacherRestorer
from ..runtime.models.zoo import load_public
from ..runtime.restorer import Restorer
from ..runtime.weights import find_checkpoint
from .frozen import Frozen

NATIVE_SIDE = 256
# Faces to restore (N, 3, S, S), and the whole faces that they were cut from or None -> restored (N, 3, S, S).
Run: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]


class Teacher(Frozen):
    """Restores aged faces; frozen, and in eval mode whatever happens around it.

    Computes in float32 even under autocast: what it says are the student's targets, and must not depend on the
    precision of the run.

    Args:
        run: how to restore.
        name: for people.
        sha256: decides, with the faces, what it says.
        network: what must stay frozen; None where another engine holds the weights.
        size: the only S that `run` takes; None takes every multiple.
        multiple: S must be a multiple of this.
        side: of whole faces; a teacher of a fixed size takes no other, because it would resize a crop to a face.
        guided: it looks at the whole face as well, where it restores a crop.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        sha256: str,
        network: nn.Module | None = None,
        size: int | None = None,
        multiple: int = 1,
        side: int = NATIVE_SIDE,
        *,
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.sha256, self.network, self.guided = name, sha256, network, guided
        self._run, self._size, self._multiple, self._side = run, size, multiple, side
        self.freeze()

    def check_crop(self, crop: int) -> None:
        """Make sure that this teacher can restore crops of a side.

        Raises:
            RecipeError: it cannot.
        """
        if self._size is not None and crop != self._side:
            raise RecipeError(
                f"whole faces of {self._side} for the teacher {self.name}, which knows faces of {self._size} only",
                f"crops of {crop}",
                f"set crop = {self._side} where the term 'teacher' has a weight",
            )
        if self._size is None and crop % self._multiple:
            raise RecipeError(f"crops divisible by {self._multiple} for the teacher {self.name}", str(crop))

    @torch.no_grad()
    def forward(self, aged: Tensor, face: Tensor | None = None) -> Tensor:
        """Restore a batch.

        Args:
            aged: (N, 3, S, S) RGB in [0, 1]: whole faces, or crops of them where `check_crop` allows.
            face: the whole aged faces that `aged` was cut from, for a guided teacher; None takes `aged` for them.

        Returns:
            (N, 3, S, S) float32 in [0, 1], on the device of `aged`, without a gradient.

        Raises:
            RecipeError: crops of a side that this teacher cannot restore.
        """
        self.check_crop(aged.shape[-1])
        with torch.autocast(aged.device.type, enabled=False):
            # Greying a white pixel gives a value a rounding error above 1, which engines rightly refuse.
            given = resize(aged.float().clamp(0, 1), self._size or aged.shape[-1])
            restored = self._run(given, face.float() if self.guided and face is not None else None)
            return resize(restored, aged.shape[-1]).clamp(0, 1)


def open_teacher(source: str, device: str = "cpu", side: int = NATIVE_SIDE) -> Teacher:
    """Open a teacher.

    Args:
        source: a shipped name, or a path: a student's or teacher's `.safetensors`, other people's `.pth` (see
            `runtime/models/zoo.py`), or a file for another engine: `.onnx`, `.tflite`, `.mlpackage`.
        device: torch's name of the device that the faces will be on. ONNX Runtime follows where it is CUDA; the other
            engines have the CPU only.
        side: of whole faces.

    Raises:
        InputError: no such file, or a suffix that nothing opens.
        BackendError: an engine that is missing, lacks the device or refuses the file.
        CheckpointError: a damaged file, or one that holds no restorer.
    """
    path = find_checkpoint(source)
    engine = ENGINES.get(path.suffix)
    if engine is not None and not path.exists():
        raise InputError("a teacher's file", f"nothing at {path}")
    if engine == "pytorch":
        return _open_own(path, device, side)
    if engine == "spandrel":
        network, facts = load_public(path, device)
        return Teacher(
            lambda given, _: network(given), facts.name, facts.sha256, network, facts.size, facts.multiple, side
        )
    restorer = open_restorer(path, device=device if engine == "onnx_runtime" and device.startswith("cuda") else "auto")
    info = restorer.info
    return Teacher(_through(restorer), info.name, _fingerprint(path, info.sha256), None, info.size, info.multiple, side)


def resize(faces: Tensor, side: int) -> Tensor:
    """Faces (N, 3, S, S) at another side, by antialiased bicubic about pixel edges, in [0, 1]; the same side: as is."""
    if faces.shape[-1] == side:
        return faces
    return F.interpolate(faces, (side, side), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def _open_own(path: Path, device: str, side: int) -> Teacher:
    network, info = load_model(path, device=device)
    if not isinstance(network, StudentRestorer | TeacherRestorer):
        raise CheckpointError("a checkpoint of a student or a teacher", f"a {info.architecture} in {path}")

    guided = isinstance(network, TeacherRestorer)

    def run(given: Tensor, face: Tensor | None) -> Tensor:
        if face is None or not isinstance(network, TeacherRestorer):
            return network(given)
        return network(given, network.embed(face))

    return Teacher(run, path.stem, info.sha256, network, None, network.config.multiple, side, guided=guided)


def _through(restorer: Restorer) -> Run:
    """Run an engine that works on numpy arrays."""

    def run(given: Tensor, _: Tensor | None) -> Tensor:
        return torch.from_numpy(restorer(given.cpu().numpy())).to(given.device)

    return run


def _fingerprint(path: Path, sha256: str) -> str:
    """The hash of what decides a file's results: its own, and its side file's where it has one."""
    stated = side_file(path)
    if not stated.exists():
        return sha256
    return hashlib.sha256(sha256.encode() + stated.read_bytes()).hexdigest()
