"""What training minimises: named terms, each a mean over the batch, weighted by the recipe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Below a quarter of a grey level Charbonnier is quadratic: differences nobody sees should not pull like visible ones.
_CHARBONNIER_EPSILON = 1e-3
_TINY = 1e-8

TERMS = {
    "pixel": "restored against the original, Charbonnier",
    "squared": "restored against the original, mean squared error: what PSNR measures",
    "gradient": "restored against the original, absolute difference of horizontal and vertical steps",
    "frequency": "restored against the original, focal frequency loss: the frequencies that are worst weigh most",
    "perceptual": "restored against the original in the features of a network (the recipe's `perceptual`)",
    "teacher": "restored against the teacher's output, Charbonnier",
    "features": "student's feature maps against the teacher's, through learnt 1x1 adapters; teachers of ours only",
    "attention": "where student's and teacher's feature maps are strong; teachers of ours only",
    "identity": "1 - cosine of the embeddings of restored and original; whole faces only",
    "identity_teacher": "the same, of restored and the teacher's output; whole faces only",
    "relational": "cosines of all pairs of a batch, restored against original; whole faces only",
    "adversarial": "how unlike a photograph the critic finds the restored picture",
    "components": "the same for eyes and mouth alone, each with a critic of its own; whole faces only",
}
# Terms that see where a face's parts lie, and so cannot work on a crop of it.
WHOLE_FACE_TERMS = ("identity", "identity_teacher", "relational", "components")
IDENTITY_TERMS = ("identity", "identity_teacher", "relational")
TEACHER_TERMS = ("teacher", "features", "attention", "identity_teacher")
INNER_TERMS = ("features", "attention")
CRITIC_TERMS = ("adversarial", "components")


def charbonnier(restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of sqrt(d^2 + eps^2) - eps over all values, each counted by its weight in [0, 1] where one is given.

    Source: Charbonnier et al. 1994.
    """
    difference = restored.float() - target.float()
    distance = (difference.square() + _CHARBONNIER_EPSILON**2).sqrt() - _CHARBONNIER_EPSILON
    return distance.mean() if weight is None else (weight * distance).mean()


def squared(restored: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference over all values."""
    return F.mse_loss(restored.float(), target.float())


def gradient(restored: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring-pixel steps: weighs edges, which a pixel mean blurs."""
    difference = restored.float() - target.float()
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def focal_frequency(restored: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of spectra (unitary FFT), each frequency weighed by how far off it is, at most 1.

    The weights carry no gradient. Where both pictures agree the loss and its gradient are 0.

    Source: Focal Frequency Loss (Jiang et al. 2021), alpha 1.
    """
    spectrum = torch.view_as_real(torch.fft.rfft2(restored.float() - target.float(), norm="ortho"))
    distance = spectrum.square().sum(-1)
    weight = distance.detach().sqrt()
    weight = weight / weight.amax((-2, -1), keepdim=True).clamp(min=_TINY)
    return (weight * distance).mean()


def perceptual(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over layers of the absolute difference of features, in units of the wanted features' mean size.

    Source: Perceptual losses (Johnson et al. 2016); the division makes layers of any scale count alike.
    """
    layers = [
        (one.float() - other.float()).abs().mean() / other.float().abs().mean().clamp(min=_TINY)
        for one, other in zip(found, wanted, strict=True)
    ]
    return torch.stack(layers).mean()


def identity(embedded: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine between embeddings (N, D)."""
    return (1 - F.cosine_similarity(embedded.float(), wanted.float())).mean()


def hinge(verdicts: Sequence[Tensor], *, real: bool) -> Tensor:
    """What a critic minimises: verdicts above 1 on photographs and below -1 on restored pictures cost nothing.

    Source: Geometric GAN (Lim and Ye 2017).
    """
    sign = -1.0 if real else 1.0
    return torch.stack([F.relu(1 + sign * verdict.float()).mean() for verdict in verdicts]).mean()


def deceit(verdicts: Sequence[Tensor]) -> Tensor:
    """What the restorer minimises against a critic: minus the mean verdict."""
    return torch.stack([-verdict.float().mean() for verdict in verdicts]).mean()


def weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The number that is minimised; every weighted term must have been computed."""
    return torch.stack([weights[name] * terms[name] for name in weights]).sum()
