"""Begin a student with the weights of one of another size, so that nothing learnt is learnt twice."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ..runtime.errors import RecipeError
from ..runtime.models.student import StudentConfig, StudentRestorer


def resize(student: StudentRestorer, config: StudentConfig) -> StudentRestorer:
    """Build a student of another shape from a trained one.

    Where the new shape is wider or deeper it computes what the old one does and has room to learn more: old channels
    keep their weights and do not listen to new ones yet, new channels begin as in any new network, so that gradients
    flow, and new blocks add nothing yet. Where it has fewer blocks, the last of that stage are left out; since a block
    only adds to its input, what is left still restores, a little worse until it has been trained again.

    Args:
        student: trained.
        config: nowhere narrower, and alike in all but widths and numbers of blocks.

    Returns:
        A new student in eval mode.

    Raises:
        RecipeError: a shape that the trained one cannot be made into.

    Source: the idea of function-preserving growth is Net2Net's (Chen et al. 2016).
    """
    other = StudentRestorer(config)
    wanted, known = other.state_dict(), student.state_dict()
    alike = dataclasses.replace(
        student.config,
        channels=config.channels,
        encoder_blocks=config.encoder_blocks,
        middle_blocks=config.middle_blocks,
        decoder_blocks=config.decoder_blocks,
    )
    kept = {key: value for key, value in known.items() if key in wanted}
    fits = alike == config and len(student.config.channels) == len(config.channels)
    if not fits or any(_narrower(wanted[key], value) for key, value in kept.items()):
        raise RecipeError(
            "a student that is nowhere narrower than the one that it begins with",
            f"{config} after {student.config}",
            "leave out --start, or name the preset that it was trained as",
        )
    with torch.no_grad():
        for key, value in kept.items():
            _extend(wanted[key], value)
    _silence(other, set(known))
    return other.eval()


def _narrower(wanted: Tensor, value: Tensor) -> bool:
    return wanted.ndim != value.ndim or any(new < old for new, old in zip(wanted.shape, value.shape, strict=True))


def _extend(wanted: Tensor, value: Tensor) -> None:
    """Write old weights over the beginning of new ones, axis by axis; old outputs take nothing from new inputs."""
    if value.ndim == 4:
        wanted[: len(value)] = 0
    wanted[tuple(slice(side) for side in value.shape)] = value


def _silence(student: StudentRestorer, known: set[str]) -> None:
    """Let blocks that are new as a whole add nothing: their last normalisation begins at gain 0."""
    for name, module in student.named_modules():
        if name.endswith("bn3") and isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in known:
            nn.init.zeros_(module.weight)
