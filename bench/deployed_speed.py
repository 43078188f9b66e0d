"""How fast a shape runs once deployed, also where the writers of `export` do not know all its operations yet.

Every network is traced and folded as `export` does it and then written by PyTorch's own ONNX exporter: an ablation must
time squeeze-and-excitation before anybody writes it for phones.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..export.deploy_graph import trace
from .candidates import Candidate
from .latency import time_candidates

_OPSET = 17
_SIDE = 256


def time_shapes(models: Mapping[str, nn.Module], rounds: int = 30) -> dict[str, float]:
    """Median milliseconds of one face of 256 in ONNX Runtime on one thread, interleaved.

    Args:
        models: label -> network; those of equal configuration are timed once.
        rounds: of all networks in turn.
    """
    first: dict[str, str] = {}
    for label, model in models.items():
        first.setdefault(str(model.config), label)
    face = np.random.default_rng(0).random((1, 3, _SIDE, _SIDE), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        candidates = [Candidate(label, str(_write(models[label], Path(folder)))) for label in first.values()]
        timings = time_candidates(candidates, face, threads=1, baseline="", rounds=rounds, seconds=120)
    taken = {timing.label: float(timing.median_ms or np.nan) for timing in timings}
    return {label: taken[first[str(model.config)]] for label, model in models.items()}


def _write(model: nn.Module, folder: Path) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    graph = trace(model)
    with warnings.catch_warnings():  # the exporter without onnxscript is deprecated, and is the one that needs nothing
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            graph, (torch.rand(1, 3, _SIDE, _SIDE),), str(path), dynamo=False, opset_version=_OPSET,
            input_names=["image"], output_names=["restored"],
        )  # fmt: skip
    return path
