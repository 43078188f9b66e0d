"""ONNX Runtime: runs an `.onnx` file on the CPU or with CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..errors import BackendError
from ..manifest import hash_artefact
from ..restorer import Faces, Restorer, RestorerInfo
from .batches import restore_in_batches

_BATCH = 8
_ERRORS_ONLY = 3


def open(path: Path, *, device: str = "auto", threads: int | None = None) -> Restorer:  # noqa: A001 - every backend's door
    """Open an ONNX file with one input and one output (N, 3, S, S) float32.

    Args:
        path: the file; its metadata may hold `name`, `multiple` and `native_size`.
        device: `auto` and `cpu`, or `cuda`, `cuda:1`.
        threads: CPU threads; None leaves ONNX Runtime's choice, one a core.

    Raises:
        BackendError: ONNX Runtime lacks the device or refuses the file.
    """
    provider = _provider(device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # its errors share no base but Exception
        raise BackendError("an ONNX file that ONNX Runtime opens", f"{path}: {error}", "export it again") from error
    if session.get_providers()[0] != provider[0]:
        raise BackendError(f"{provider[0]} to start", f"only {session.get_providers()}", "use --device cpu")
    return OnnxRestorer(session, path, "cpu" if provider[0] == "CPUExecutionProvider" else device)


class OnnxRestorer:
    """An ONNX Runtime session under the contract."""

    def __init__(self, session: onnxruntime.InferenceSession, path: Path, device: str) -> None:
        self._session = session
        self._input, output = _only(session.get_inputs(), path), _only(session.get_outputs(), path)
        batch, size = _batch_and_size(self._input.shape, path)
        if self._input.type != "tensor(float)" or output.type != "tensor(float)":
            raise BackendError("float32 in and out", f"{self._input.type} and {output.type} in {path}")
        self._limit = _BATCH if batch is None else batch
        facts = session.get_modelmeta().custom_metadata_map
        if size is None and "multiple" not in facts:
            raise BackendError("a fixed face size, or `multiple` in the metadata", f"neither in {path}")
        multiple = int(facts.get("multiple", 1))
        native = size or int(facts.get("native_size", 256))
        name = facts.get("name", path.stem)
        self._info = RestorerInfo(name, "onnx_runtime", device, size, multiple, native, hash_artefact(path))

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        return self._info

    def __call__(self, faces: Faces) -> Faces:
        """Restore faces (N, 3, S, S)."""
        return restore_in_batches(self._run, faces, self._info, self._limit)

    def _run(self, faces: Faces) -> Faces:
        return np.asarray(self._session.run(None, {self._input.name: faces})[0])


def _provider(device: str) -> tuple[str, dict[str, str]]:
    """Name the execution provider and its options."""
    if device in ("auto", "cpu"):
        return "CPUExecutionProvider", {}
    kind, _, index = device.partition(":")
    available = onnxruntime.get_available_providers()
    if kind != "cuda" or "CUDAExecutionProvider" not in available:
        raise BackendError(
            f"a device of {', '.join(available)}", f"'{device}'", "use --device cpu, or pip install onnxruntime-gpu"
        )
    return "CUDAExecutionProvider", {"device_id": index or "0", "use_tf32": "0"}


def _only(tensors: Sequence[Any], path: Path) -> Any:
    if len(tensors) != 1:
        raise BackendError("one input and one output", f"{[tensor.name for tensor in tensors]} in {path}")
    return tensors[0]


def _batch_and_size(shape: Sequence[int | str | None], path: Path) -> tuple[int | None, int | None]:
    """Read N and S off an input shape; None where the file leaves them open."""
    fixed = [side if isinstance(side, int) else None for side in shape]
    if len(fixed) != 4 or fixed[1] not in (3, None) or fixed[2] != fixed[3]:
        raise BackendError("an input of shape (N, 3, S, S)", f"{shape} in {path}")
    if fixed[0] not in (1, None):
        raise BackendError("a batch of 1 or an open batch", f"{fixed[0]} in {path}", "export it with an open batch")
    return fixed[0], fixed[2]
