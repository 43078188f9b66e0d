"""Any face recogniser as an ONNX file, with ONNX Runtime: a judge, never a loss, because it has no gradient.

What the file does not say must be said: range and order of colours, in a side file (`NAME.onnx.json`, see
`backends.onnx_statement`). Without one it is insightface's convention (w600k, glint360k): RGB, (value - 127.5) / 127.5.
AdaFace takes BGR: `{"colour": "bgr"}`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..backends.onnx_runtime import open_session
from ..backends.onnx_statement import Statement, read_statement
from ..errors import BackendError, CheckpointError
from ..faces.align import ARCFACE, SPHEREFACE

# Of (value - 127.5) / 127.5.
_INSIGHTFACE = Statement(range=(-1.0, 1.0))
_TEMPLATES = {(template.height, template.width): template for template in (ARCFACE, SPHEREFACE)}
_BATCH = 32
_FATAL_ONLY = 4


class OnnxEmbedder:
    """Identity crops (N, 3, rows, columns) RGB in [0, 1], on the CPU -> (N, D), unit length, without gradients.

    Args:
        path: a file with one input (N, 3, 112, 112) or (N, 3, 112, 96); its embeddings (N, D) are the output that its
            side file names, or else the first.
        device: where ONNX Runtime runs it: `cpu`, `cuda`, `cuda:1`.

    Raises:
        CheckpointError: no such file, or one with other inputs or outputs.
        BackendError: ONNX Runtime refuses the file or lacks the device.
        InputError: a side file with an unknown key or an impossible value.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        if not path.is_file():
            raise CheckpointError("an ONNX file", f"no file at {path}")
        self.statement = read_statement(path, _INSIGHTFACE)
        self._session = open_session(path, device=device)
        self._outputs = _choose_output([one.name for one in self._session.get_outputs()], self.statement, path)
        inputs = self._session.get_inputs()
        shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4 or shape[1] not in (3, None):
            found = ", ".join(f"{one.type} {one.shape}" for one in inputs)
            raise CheckpointError("one float32 input (N, 3, 112, 112), channels first", f"{found} in {path}")
        size = (shape[2] or ARCFACE.height, shape[3] or ARCFACE.width)
        if size not in _TEMPLATES:
            raise CheckpointError("crops of 112 x 112 or 112 x 96 (rows, columns)", f"{size[0]} x {size[1]} in {path}")
        self.template = _TEMPLATES[size]
        self._path, self._input = path, inputs[0].name
        self._batch = shape[0]
        self(torch.zeros(1, 3, *size))

    def __call__(self, crops: Tensor) -> Tensor:
        """Embed crops; a file with a fixed batch gets its last one filled up with black crops."""
        return torch.cat([self._run(part) for part in crops.split(self._batch or _BATCH)])

    def _run(self, crops: Tensor) -> Tensor:
        values = self.statement.encode(crops.numpy())
        if self._batch is not None:
            values = np.pad(values, ((0, self._batch - len(values)), (0, 0), (0, 0), (0, 0)))
        return F.normalize(torch.from_numpy(self._embed(values)[: len(crops)]))

    def _embed(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        quiet = onnxruntime.RunOptions()
        quiet.log_severity_level = _FATAL_ONLY  # what fails is said once, by the error below
        try:
            found = np.asarray(self._session.run(self._outputs, {self._input: values}, quiet)[0])
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            rows, columns = values.shape[2:]
            expected = f"a recogniser that takes crops of {rows} x {columns}"
            raise BackendError(expected, f"{self._path}: {str(error).splitlines()[0]}", "export it again") from error
        if found.ndim != 2 or len(found) != len(values) or found.shape[1] < 2:
            raise CheckpointError(f"embeddings ({len(values)}, D)", f"{found.shape} from {self._path}")
        if not np.isfinite(found).all():
            raise CheckpointError("finite embeddings", f"inf or NaN from {self._path}", "check mean and scale")
        return found.astype(np.float32)


def _choose_output(names: list[str], statement: Statement, path: Path) -> list[str]:
    if statement.output not in (None, *names):
        raise CheckpointError(f"one of the outputs {', '.join(names)} of {path}", f"'{statement.output}'")
    return [statement.output or names[0]]
