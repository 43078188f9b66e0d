"""One engine a module, and the one door to all of them: `open_restorer`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from ..errors import BackendError, InputError
from ..restorer import Restorer
from ..weights import SHIPPED, find_checkpoint

# Each names a module here that offers `open(path, *, device, threads) -> Restorer`; importing it may import its engine.
ENGINES = {
    ".safetensors": "pytorch",
    **dict.fromkeys((".pth", ".pt", ".ckpt"), "spandrel"),
    ".onnx": "onnx_runtime",
    ".tflite": "litert",
    ".mlpackage": "coreml" if sys.platform == "darwin" else "mil",
}
INSTALL = {
    "pytorch": "'pocketface[torch]'",
    "spandrel": "'pocketface[teachers]'",
    "onnx_runtime": "onnxruntime",
    "litert": "ai-edge-litert",
    "coreml": "coremltools",
    "mil": "'pocketface[export]'",
}


def open_restorer(path: str | Path, *, device: str = "auto", threads: int | None = None) -> Restorer:
    """Open a restorer by its file's suffix, whatever runs it.

    Args:
        path: a `.safetensors`, `.onnx` or `.tflite` file, an `.mlpackage` folder, another project's `.pth`, or the name
            of a shipped network.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, ...; `auto` is the best available for PyTorch and `cpu` for the others.
        threads: CPU threads of the engine; None leaves the engine's own choice.

    Raises:
        InputError: no such file, or a suffix that no engine here opens.
        BackendError: the engine is not installed, lacks the device, or refuses the file.
        CheckpointError: a `.safetensors` or `.pth` file that is damaged or holds no restorer.
    """
    file = _locate(path)
    name = ENGINES[file.suffix]
    try:
        engine = importlib.import_module(f".{name}", __package__)
    except ImportError as error:
        if (error.name or "").startswith("pocketface"):
            raise
        raise BackendError(
            f"what the engine {name} needs", f"no {error.name}", f"run: pip install {INSTALL[name]}"
        ) from error
    return engine.open(file, device=device, threads=threads)


def _locate(path: str | Path) -> Path:
    file = find_checkpoint(str(path))
    if file.suffix not in ENGINES:
        known = f"a file ending in {', '.join(ENGINES)} or a name of {', '.join(SHIPPED)}"
        raise InputError(known, f"'{path}'")
    if not file.exists():
        raise InputError("a network's file", f"nothing at {file}")
    return file
