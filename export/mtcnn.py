"""Write the MTCNN detector's three networks as TFLite files, from the weights that the PyPI package `mtcnn` carries.

`python -m pocketface.export.mtcnn --output runtime/weights` was run once; the files are shipped, so that a camera needs
neither the package nor TensorFlow. `pip install mtcnn` to run it again.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..runtime.errors import CheckpointError
from .deploy_graph import trace
from .to_tflite import Labels, write_tflite_graph

# Widths of Linear layers that read a flattened map: the map's side and channels.
_FLATTENED = {576: (3, 64), 1152: (3, 128)}
STAGES = ("pnet", "rnet", "onet")
_FACTS = {
    "author": "Iván de Paz Centeno (PyPI package mtcnn), after Zhang et al. 2016",
    "licence": "MIT",
    "contract": "(N, rows, columns, 3) RGB, (level - 127.5) / 128; pnet: any rows and columns",
}


class MtcnnStage(nn.Module):
    """One of the three networks: (N, 3, rows, columns) RGB, (level - 127.5) / 128 -> its heads' outputs.

    Args:
        stage: `pnet` (any size; heads are maps), `rnet` (24 x 24) or `onet` (48 x 48).

    Heads in order: box (N, 4), shifts of left, top, right, bottom in box sides; landmarks (N, 10), five x then five y
    in box sides, of `onet` alone; face (N, 2), probabilities of no face and of a face.

    Source: Zhang et al. 2016 (MTCNN), as the PyPI package mtcnn lays it out (MIT).
    """

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.side = {"pnet": 12, "rnet": 24, "onet": 48}[stage]
        self.is_map = stage == "pnet"
        trunk, heads = {"pnet": _proposal, "rnet": _refinement, "onet": _output}[stage]()
        self.trunk = nn.Sequential(*trunk)
        self.heads = nn.ModuleList(heads)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run the trunk once and every head on it."""
        y = self.trunk(image)
        return tuple(head(y) for head in self.heads)


def _proposal() -> tuple[list[nn.Module], list[nn.Module]]:
    trunk = [*_conv(3, 10, 3), _pool(2), *_conv(10, 16, 3), *_conv(16, 32, 3)]
    return trunk, [nn.Conv2d(32, 4, 1), nn.Sequential(nn.Conv2d(32, 2, 1), nn.Softmax(1))]


def _refinement() -> tuple[list[nn.Module], list[nn.Module]]:
    trunk = [*_conv(3, 28, 3), _pool(3), *_conv(28, 48, 3), _pool(3), *_conv(48, 64, 2)]
    trunk += [nn.Flatten(), nn.Linear(576, 128), nn.PReLU(128)]
    return trunk, [nn.Linear(128, 4), nn.Sequential(nn.Linear(128, 2), nn.Softmax(1))]


def _output() -> tuple[list[nn.Module], list[nn.Module]]:
    trunk = [*_conv(3, 32, 3), _pool(3), *_conv(32, 64, 3), _pool(3), *_conv(64, 64, 3), _pool(2), *_conv(64, 128, 2)]
    trunk += [nn.Flatten(), nn.Linear(1152, 256), nn.PReLU(256)]
    return trunk, [nn.Linear(256, 4), nn.Linear(256, 10), nn.Sequential(nn.Linear(256, 2), nn.Softmax(1))]


def _conv(source: int, target: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(source, target, kernel), nn.PReLU(target)]


def _pool(kernel: int) -> nn.Module:
    return nn.MaxPool2d(kernel, 2, ceil_mode=True)


def load_stage(stage: str) -> MtcnnStage:
    """Build one network with the weights of the installed package.

    Raises:
        CheckpointError: the package is not installed, or its weights have another layout.
    """
    weights = _read_weights(stage)
    network = MtcnnStage(stage)
    try:
        with torch.no_grad():
            for module in network.modules():
                _fill(module, weights)
    except (StopIteration, RuntimeError, ValueError) as error:
        raise CheckpointError(f"the weights of mtcnn 1.0 for {stage}", str(error)) from error
    if next(weights, None) is not None:
        raise CheckpointError(f"the weights of mtcnn 1.0 for {stage}", "more of them")
    return network.eval()


def _read_weights(stage: str) -> Iterator[NDArray[np.float32]]:
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or spec.origin is None:
        raise CheckpointError("the package mtcnn, which carries the weights", "none here", "run: pip install mtcnn")
    # A pickle, which may run code: this one belongs to a package whose code would run on import as well.
    file = Path(spec.origin).parent / "assets" / "weights" / f"{stage}.lz4"
    return iter(importlib.import_module("joblib").load(file))


def _fill(module: nn.Module, weights: Iterator[NDArray[np.float32]]) -> None:
    """Copy the next of Keras's weights into a module that has some."""
    if isinstance(module, nn.PReLU):
        module.weight.copy_(torch.from_numpy(next(weights).reshape(-1)))
    elif isinstance(module, nn.Conv2d):  # (kh, kw, in, out)
        module.weight.copy_(torch.from_numpy(next(weights).transpose(3, 2, 0, 1).copy()))
        _fill_bias(module.bias, weights)
    elif isinstance(module, nn.Linear):
        kernel = next(weights)
        side, channels = _FLATTENED.get(len(kernel), (1, len(kernel)))
        columns_first = kernel.reshape(side, side, channels, -1)  # (w, h, c, out): the package flattens columns first
        module.weight.copy_(torch.from_numpy(columns_first.transpose(3, 2, 1, 0).reshape(kernel.shape[1], -1).copy()))
        _fill_bias(module.bias, weights)


def _fill_bias(bias: Tensor | None, weights: Iterator[NDArray[np.float32]]) -> None:
    if bias is not None:
        bias.copy_(torch.from_numpy(next(weights)))


def write_stage(stage: str, path: Path) -> None:
    """Write one network as a TFLite file; `pnet` takes any rows and columns, the others any N.

    Raises:
        CheckpointError: the package is not installed, or its weights have another layout.
        OutputError: the place cannot be written to.
    """
    network = load_stage(stage)
    names = ("box", "landmarks", "face") if len(network.heads) == 3 else ("box", "face")
    labels = Labels(stage, names, f"MTCNN {stage}, float32", {**_FACTS, "name": f"mtcnn-{stage}"})
    # 12 pixels give P-Net a map of one place; twice as many let all three be traced with more than one.
    side = 2 * network.side if network.is_map else network.side
    axes = (2, 3) if network.is_map else (0,)
    write_tflite_graph(trace(network), [(1, 3, side, side)], path, open_axes=axes, labels=labels)


def main(argv: Sequence[str] | None = None) -> int:
    """Write all three files."""
    parser = argparse.ArgumentParser(prog="python -m pocketface.export.mtcnn", description=__doc__)
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder to write to")
    folder: Path = parser.parse_args(argv).output
    for stage in STAGES:
        path = folder / f"mtcnn_{stage}.tflite"
        write_stage(stage, path)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
