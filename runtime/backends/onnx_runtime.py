"""ONNX Runtime: runs an `.onnx` file on the CPU or with CUDA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..errors import BackendError
from ..manifest import hash_artefact
from ..restorer import STRENGTH, Faces, Restorer, RestorerInfo, check_strength
from .batches import mixed, restore_in_batches
from .onnx_statement import Statement, read_statement, side_file

_BATCH = 8
_NATIVE_SIZE = 256
_ERRORS_ONLY = 3
# What a side file's constants may be fed to.
_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


def open(path: Path, *, device: str = "auto", threads: int | None = None) -> Restorer:  # noqa: A001 - every backend's door
    """Open an ONNX file that takes and gives (N, 3, S, S) float32.

    Args:
        path: the file; its metadata may hold `name`, `multiple` and `native_size`. Another project's file may have a
            side file that states its range and more: see `onnx_statement`.
        device: `auto` and `cpu`, or `cuda`, `cuda:1`.
        threads: CPU threads; None leaves ONNX Runtime's choice, one a core.

    Raises:
        BackendError: ONNX Runtime lacks the device or refuses the file, or the file contradicts its side file.
        InputError: a side file with an unknown key or an impossible value.
    """
    statement = read_statement(path)
    session = open_session(path, device=device, threads=threads)
    on_cpu = session.get_providers()[0] == "CPUExecutionProvider"
    return OnnxRestorer(session, path, "cpu" if on_cpu else device, statement)


def open_session(path: Path, *, device: str = "cpu", threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open any ONNX file on a device.

    Args:
        path: the file.
        device: `auto` and `cpu`, or `cuda`, `cuda:1`.
        threads: CPU threads; None leaves ONNX Runtime's choice, one a core.

    Raises:
        BackendError: ONNX Runtime lacks the device or refuses the file, or the file contradicts its side file.
        InputError: a side file with an unknown key or an impossible value.
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
    return session


class OnnxRestorer:
    """An ONNX Runtime session under the contract.

    Args:
        session: of the file.
        path: the file.
        device: for people.
        statement: how the file wants to be run.
    """

    def __init__(self, session: onnxruntime.InferenceSession, path: Path, device: str, statement: Statement) -> None:
        self._session, self._statement = session, statement
        self._constants = _constants(session.get_inputs(), statement.constants, path)
        self._input = _only([one for one in session.get_inputs() if one.name not in self._constants], path)
        # An input with a first value may be left out; other people's of that name must be what ours is.
        self._has_strength = any(
            (one.name, one.type, one.shape) == (STRENGTH, "tensor(float)", [1])
            for one in session.get_overridable_initializers()
        )
        outputs = [one for one in session.get_outputs() if statement.output in (None, one.name)]
        self._output = _only(outputs, path)
        if self._input.type != "tensor(float)" or self._output.type != "tensor(float)":
            raise BackendError("float32 in and out", f"{self._input.type} and {self._output.type} in {path}")
        batch, size = _batch_and_size(self._input.shape, path)
        self._limit = _BATCH if batch is None else batch
        facts = session.get_modelmeta().custom_metadata_map
        size = _agreed("size", size, statement.size, path)
        multiple = _agreed("multiple", _whole("multiple", facts, path), statement.multiple, path)
        native = _agreed("native_size", _whole("native_size", facts, path), statement.native_size, path)
        if size is None and multiple is None:
            raise BackendError(
                "a fixed face size, or `multiple` in the metadata",
                f"neither in {path}",
                f'state "size" or "multiple" in {side_file(path)}',
            )
        name = facts.get("name", path.stem)
        self._info = RestorerInfo(
            name, "onnx_runtime", device, size, multiple or 1, size or native or _NATIVE_SIZE, hash_artefact(path)
        )

    @property
    def info(self) -> RestorerInfo:
        """What this restorer is."""
        return self._info

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:
        """Restore faces (N, 3, S, S)."""
        if not self._has_strength:
            return restore_in_batches(mixed(self._run, strength), faces, self._info, self._limit)
        own = {STRENGTH: np.full(1, check_strength(strength), np.float32)}
        return restore_in_batches(lambda part: self._run(part, own), faces, self._info, self._limit)

    def _run(self, faces: Faces, more: Mapping[str, NDArray[Any]] = MappingProxyType({})) -> Faces:
        given = {self._input.name: self._statement.encode(faces), **self._constants, **more}
        restored = np.asarray(self._session.run([self._output.name], given)[0])
        if restored.shape != faces.shape:
            raise BackendError(f"output of the input's shape {faces.shape}", f"{restored.shape}", "choose another file")
        return self._statement.decode(restored)


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
        raise BackendError(
            "one input and one output",
            f"{[tensor.name for tensor in tensors]} in {path}",
            f'state "constants" for the other inputs, and "output", in {side_file(path)}',
        )
    return tensors[0]


def _constants(inputs: Sequence[Any], values: Mapping[str, float], path: Path) -> dict[str, NDArray[Any]]:
    """The stated values of further inputs, in the type and shape that each asks for."""
    known = {one.name: one for one in inputs if one.type in _NUMBERS}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BackendError(f"constants among the inputs {', '.join(known)}", f"{', '.join(unknown)} for {path}")
    return {
        name: np.full(
            [side if isinstance(side, int) else 1 for side in known[name].shape], value, _NUMBERS[known[name].type]
        )
        for name, value in values.items()
    }


def _whole(name: str, facts: Mapping[str, str], path: Path) -> int | None:
    """A positive whole number of the file's metadata."""
    if name not in facts:
        return None
    if not facts[name].isdecimal() or int(facts[name]) == 0:
        raise BackendError(f"a positive `{name}` in the metadata", f"'{facts[name]}' in {path}", "export it again")
    return int(facts[name])


def _agreed(name: str, own: int | None, stated: int | None, path: Path) -> int | None:
    """What file and side file say of the same thing, which must not differ."""
    if own is not None and stated is not None and own != stated:
        raise BackendError(f"{name} {own}, as in {path}", f"{stated} in its side file", "correct the side file")
    return stated if own is None else own


def _batch_and_size(shape: Sequence[int | str | None], path: Path) -> tuple[int | None, int | None]:
    """Read N and S off an input shape; None where the file leaves them open."""
    fixed = [side if isinstance(side, int) else None for side in shape]
    if len(fixed) != 4 or fixed[1] not in (3, None) or fixed[2] != fixed[3]:
        raise BackendError("an input of shape (N, 3, S, S)", f"{shape} in {path}")
    if fixed[0] not in (1, None):
        raise BackendError("a batch of 1 or an open batch", f"{fixed[0]} in {path}", "export it with an open batch")
    return fixed[0], fixed[2]
