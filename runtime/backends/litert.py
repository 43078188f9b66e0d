"""LiteRT: runs a `.tflite` file on the CPU, with ai-edge-litert or the older tflite-runtime.

The file works on (1, S, S, 3), in float32 or in 8 bits; this is the only place that knows.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError
from ..restorer import STRENGTH, Faces, Restorer, RestorerInfo, check_strength
from .batches import mixed, restore_in_batches
from .tflite_file import check_tflite, read_facts

# The first that is installed runs the file; the name of the engine is told in `info.engine`.
_INTERPRETERS = {"litert": "ai_edge_litert.interpreter", "tflite_runtime": "tflite_runtime.interpreter"}


def open(path: Path, *, device: str = "auto", threads: int | None = None) -> Restorer:  # noqa: A001 - every backend's door
    """Open a TFLite file with one image in and one out, (1, S, S, 3), float32 or 8 bits.

    Our files also take `strength`, (1,); those that were written before there was one do not.

    Args:
        path: the file.
        device: `auto` or `cpu`.
        threads: CPU threads; None leaves the interpreter's choice.

    Raises:
        BackendError: no interpreter is installed, it lacks the device, or the file is damaged or no restorer.
    """
    if device not in ("auto", "cpu"):
        raise BackendError("device cpu for TFLite files", f"'{device}'", "use --device cpu")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BackendError("a readable TFLite file", f"{path}: {error.strerror}") from error
    check_tflite(content, path)
    engine, interpreter_class = find_interpreter()
    try:
        interpreter = interpreter_class(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BackendError(f"a TFLite file that {engine} runs", f"{path}: {error}", "export it again") from error
    return LiteRTRestorer(interpreter, engine, path, content)


class LiteRTRestorer:
    """A TFLite interpreter under the contract; it holds one face's tensors, so each thread needs its own."""

    def __init__(self, interpreter: Any, engine: str, path: Path, content: bytes) -> None:
        self._interpreter = interpreter
        given = interpreter.get_input_details()
        factors = [detail for detail in given if _is_strength(detail)]
        self._input = _End([detail for detail in given if not _is_strength(detail)], path)
        self._strength = _Factor(factors[0], path) if factors else None
        self._output = _End(interpreter.get_output_details(), path)
        size = self._input.size
        if self._output.size != size:
            raise BackendError("one size in and out", f"{size} and {self._output.size} in {path}")
        name = read_facts(content, path).get("name", path.stem)
        self._info = RestorerInfo(name, engine, "cpu", size, size, size, hashlib.sha256(content).hexdigest())

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        return self._info

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        """Restore faces (N, 3, S, S), one at a time."""
        if self._strength is None:
            return restore_in_batches(mixed(self._run, strength), faces, self._info, 1)
        self._interpreter.set_tensor(self._strength.index, self._strength.encode(check_strength(strength)))
        return restore_in_batches(self._run, faces, self._info, 1)

    def _run(self, faces: Faces) -> Faces:
        # Both ends are the interpreter's own memory, to save copies. Nobody may keep the answer: the caller copies it
        # into an array of the contract's layout.
        given = self._interpreter.tensor(self._input.index)()
        self._input.encode(faces[0], given[0])
        del given
        self._interpreter.invoke()
        return self._output.decode(self._interpreter.tensor(self._output.index)()).transpose(0, 3, 1, 2)


class _End:
    """The input or the output of a file: its place, its size, and how values become levels."""

    def __init__(self, details: list[dict[str, Any]], path: Path) -> None:
        shapes = [tuple(int(side) for side in detail["shape"]) for detail in details]
        size = shapes[0][1] if shapes and len(shapes[0]) == 4 else 0
        if shapes != [(1, size, size, 3)]:
            raise BackendError("one input and one output of shape (1, S, S, 3)", f"{shapes} in {path}")
        self.size, self.index = size, int(details[0]["index"])
        self._dtype = np.dtype(details[0]["dtype"])
        scale, self._zero_point = details[0]["quantization"]
        self._scale = np.float32(scale)
        if self._dtype not in (np.float32, np.uint8, np.int8) or (self._dtype != np.float32 and not scale > 0):
            raise BackendError("float32, or uint8 or int8 with a scale", f"{self._dtype}, scale {scale} in {path}")

    def encode(self, face: NDArray[np.float32], tensor: NDArray[Any]) -> None:
        """Write a face (3, S, S) into the file's tensor (S, S, 3), as levels where it has those."""
        planes = list(face)
        if self._dtype == np.float32:
            cv2.merge(planes, tensor)  # NumPy's transposed copy takes ten times as long
            return
        limits = np.iinfo(self._dtype)
        levels = np.rint(cv2.merge(planes) / self._scale) + self._zero_point
        tensor[:] = np.clip(levels, limits.min, limits.max)

    def decode(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Float values of what the file gives."""
        if self._dtype == np.float32:
            return values
        return (values.astype(np.float32) - np.float32(self._zero_point)) * self._scale


def _is_strength(detail: dict[str, Any]) -> bool:
    return str(detail["name"]) == STRENGTH


class _Factor:
    """The strength as a file takes it: (1,) float32, or levels of 1/255."""

    def __init__(self, detail: dict[str, Any], path: Path) -> None:
        self.index, self._dtype = int(detail["index"]), np.dtype(detail["dtype"])
        shape = tuple(int(side) for side in detail["shape"])
        if shape != (1,) or self._dtype not in (np.float32, np.uint8):
            raise BackendError(f"a {STRENGTH} of shape (1,), float32 or uint8", f"{shape} {self._dtype} in {path}")

    def encode(self, strength: float) -> NDArray[np.generic]:
        """The strength as a tensor of the file's type."""
        if self._dtype == np.float32:
            return np.array([strength], np.float32)
        return np.array([round(255 * strength)], np.uint8)


def find_interpreter() -> tuple[str, Any]:
    """Return the engine's name and its Interpreter class.

    Raises:
        BackendError: no interpreter is installed.
    """
    reasons = []
    for engine, module in _INTERPRETERS.items():
        try:
            return engine, importlib.import_module(module).Interpreter
        except ImportError as error:
            reasons.append(str(error))
    raise BackendError(
        "a TFLite interpreter", "; ".join(reasons), "run: pip install ai-edge-litert (or tflite-runtime)"
    )
