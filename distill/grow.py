"""Begin a larger student with a smaller one's weights, so that nothing learnt is learnt twice."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ..runtime.errors import RecipeError
from ..runtime.models.student import StudentConfig, StudentRestorer


def grow(small: StudentRestorer, config: StudentConfig) -> StudentRestorer:
    """Build a student of a larger shape that computes what a smaller one does, and has room to learn more.

    Old channels keep their weights and do not listen to new ones yet; new channels begin as in any new network, so that
    gradients flow; blocks that the small one lacks add nothing yet.

    Args:
        small: a trained student.
        config: nowhere narrower or shallower, and alike in everything else.

    Returns:
        A new student in eval mode; in that mode its outputs equal the small one's but for rounding.

    Raises:
        RecipeError: a shape that the small one does not fit into.

    Source: the idea of function-preserving growth is Net2Net's (Chen et al. 2016).
    """
    large = StudentRestorer(config)
    wanted, known = large.state_dict(), small.state_dict()
    alike = dataclasses.replace(
        small.config,
        channels=config.channels,
        encoder_blocks=config.encoder_blocks,
        middle_blocks=config.middle_blocks,
        decoder_blocks=config.decoder_blocks,
    )
    fits = alike == config and len(small.config.channels) == len(config.channels)
    if not fits or any(key not in wanted or _narrower(wanted[key], value) for key, value in known.items()):
        raise RecipeError(
            "a student that is nowhere smaller than the one that it begins with",
            f"{config} after {small.config}",
            "leave out --start, or name the preset that it was trained as",
        )
    with torch.no_grad():
        for key, value in known.items():
            _extend(wanted[key], value)
    _silence(large, set(known))
    return large.eval()


def _narrower(wanted: Tensor, value: Tensor) -> bool:
    return wanted.ndim != value.ndim or any(new < old for new, old in zip(wanted.shape, value.shape, strict=True))


def _extend(wanted: Tensor, value: Tensor) -> None:
    """Write old weights over the beginning of new ones, axis by axis; old outputs take nothing from new inputs."""
    if value.ndim == 4:
        wanted[: len(value)] = 0
    wanted[tuple(slice(side) for side in value.shape)] = value


def _silence(large: StudentRestorer, known: set[str]) -> None:
    """Let blocks that are new as a whole add nothing: their last normalisation begins at gain 0."""
    for name, module in large.named_modules():
        if name.endswith("bn3") and isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in known:
            nn.init.zeros_(module.weight)
