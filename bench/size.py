"""How big a network is: parameters, multiply-accumulates a face, and bytes on the device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..runtime.manifest import measure_artefact
from ..runtime.models.checkpoint import load_model
from .candidates import Candidate, locate


@dataclass(frozen=True)
class Size:
    """One file.

    Args:
        label: of the candidate.
        bytes: on disk; of an `.mlpackage`, the sum over its files.
        parameters: trainable numbers in the network; None where the file does not carry the network's modules.
        macs: size of the face S -> multiply-accumulates of convolutions and matrix products for one face.
    """

    label: str
    bytes: int
    parameters: int | None
    macs: dict[int, int]


def measure_sizes(candidates: Iterable[Candidate], face_sizes: Iterable[int]) -> list[Size]:
    """Measure each candidate's file, and the network inside where it is a checkpoint.

    Args:
        candidates: what to measure.
        face_sizes: sides S to count multiply-accumulates for.

    Raises:
        InputError: a file that is not there.
    """
    sides = list(face_sizes)
    sizes = []
    for candidate in candidates:
        file = locate(candidate.path)
        parameters, macs = None, dict[int, int]()
        if file.suffix == ".safetensors":
            model, _ = load_model(file)
            parameters = count_parameters(model)
            macs = {side: count_macs(model, side) for side in sides}
        sizes.append(Size(candidate.label, measure_artefact(file), parameters, macs))
    return sizes


def count_parameters(model: nn.Module) -> int:
    """Count the numbers in a network's parameters, frozen ones included; buffers are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, side: int) -> int:
    """Count multiply-accumulates of convolutions and matrix products for one face of `side` x `side`, in eval mode.

    Additions, activations and resampling are left out, as the field does; they are a few per cent here.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(mode=False), torch.no_grad(), counter:
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() // 2
