"""What training minimises: named terms, each a mean over the batch, weighted by the recipe."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Below a quarter of a grey level Charbonnier is quadratic: differences nobody sees should not pull like visible ones.
_CHARBONNIER_EPSILON = 1e-3

TERMS = {
    "pixel": "restored against the original, Charbonnier",
    "gradient": "restored against the original, absolute difference of horizontal and vertical steps",
    "teacher": "restored against the teacher's output, Charbonnier",
    "identity": "1 - cosine of the embeddings of restored and original; whole faces only",
}


def charbonnier(restored: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + eps^2) - eps over all values.

    Source: Charbonnier et al. 1994.
    """
    difference = restored.float() - target.float()
    return (difference.square() + _CHARBONNIER_EPSILON**2).sqrt().mean() - _CHARBONNIER_EPSILON


def gradient(restored: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring-pixel steps: weighs edges, which a pixel mean blurs."""
    difference = restored.float() - target.float()
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def identity(embedded: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine between embeddings (N, D)."""
    return (1 - F.cosine_similarity(embedded.float(), wanted.float())).mean()


def weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The number that is minimised; every weighted term must have been computed."""
    return torch.stack([weights[name] * terms[name] for name in weights]).sum()
