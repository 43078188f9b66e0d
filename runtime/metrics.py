"""How alike two sets of faces are, in numbers: fidelity, identity and geometry; numpy and OpenCV alone.

Faces are (N, 3, S, S) RGB in [0, 1]; every function gives one float64 figure a face, (N,). NaN in a face gives NaN for
that face and no other. Decibels stay within +-200, so that identical faces have a figure that JSON can carry; the
smallest difference that float32 can express on one bright value of a 256-pixel face lies at 197.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import ContractError
from .restorer import Faces

PerFace: TypeAlias = NDArray[np.float64]
Embeddings: TypeAlias = NDArray[np.floating]

DECIBEL_LIMIT = 200.0
GREY_LEVEL = 1.0 / 255.0

# The window of Wang et al. 2004: 11 pixels wide, sigma 1.5.
SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2

_LUMA = np.array([0.299, 0.587, 0.114])
# Detail is where the clean face's gradient energy, averaged over a few pixels, is among the highest fifth: edges may
# move by a pixel or two. The lower half is smooth: what is found there is noise.
_DETAIL, _SMOOTH = 0.8, 0.5
_NEIGHBOURHOOD = 2.0  # pixels, sigma
# Below this (a hundredth of a grey level a pixel, squared) a face has no detail to compare with.
_LEAST_DETAIL = (0.01 * GREY_LEVEL) ** 2


def psnr(a: Faces, b: Faces) -> PerFace:
    """Peak signal-to-noise ratio in dB, peak 1.0, over all values of a face; 200 where the two are identical.

    Raises:
        ContractError: the shapes differ.
    """
    _check_pair(a, b)
    return _decibels(np.ones(len(a)), _mean_square(a, b))


def snr_of_residual(reference: Faces, candidate: Faces, given: Faces) -> PerFace:
    """How much of the work survives, in dB: the power of `reference - given` over that of `reference - candidate`.

    A restorer adds a small residual to its input, so PSNR flatters every copy of it, even one that restores nothing
    (which scores 0 here).

    Args:
        reference: what the trusted restorer made of `given`.
        candidate: what the judged restorer made of `given`.
        given: the faces both were given.

    Raises:
        ContractError: the shapes differ.
    """
    _check_pair(reference, candidate)
    _check_pair(reference, given)
    return _decibels(_mean_square(reference, given), _mean_square(reference, candidate))


def ssim(a: Faces, b: Faces) -> PerFace:
    """Structural similarity in [-1, 1]: Gaussian window 11, sigma 1.5, mean of the three RGB channels, border left out.

    Raises:
        ContractError: the shapes differ, or a side is below the window's 11 pixels.

    Source: Wang et al. 2004; the figures are those of scikit-image's `structural_similarity` with
    `gaussian_weights=True`, `sigma=1.5`, `use_sample_covariance=False`, `data_range=1`.
    """
    _check_pair(a, b)
    if min(a.shape[2:]) < SSIM_WINDOW:
        raise ContractError(f"faces of at least {SSIM_WINDOW} pixels a side", str(a.shape))
    return np.array([_ssim_of_one(x, y) for x, y in zip(a, b, strict=True)], np.float64)


def sharpness(found: Faces, clean: Faces) -> PerFace:
    """How sharp the detail of a face is beside the clean one's: 1 is as sharp, 0.5 has edges twice as wide.

    Gradient energy where the clean face has detail, less the energy where it is smooth, over the same difference in the
    clean face. Noise that covers a face adds as much to both places and so earns nothing. Above 1 is sharper than the
    original, as exaggerated edges are. Whether the detail is the right one this does not ask: read it beside `ssim`
    and the identity.

    Args:
        found: the faces to judge.
        clean: the same faces, sharp.

    Returns:
        NaN for a face without detail.

    Raises:
        ContractError: the shapes differ.
    """
    _check_pair(found, clean)
    return np.array([_sharpness_of_one(x, y) for x, y in zip(found, clean, strict=True)], np.float64)


def max_abs(a: Faces, b: Faces) -> PerFace:
    """The largest absolute difference of any value, in [0, 1].

    Raises:
        ContractError: the shapes differ.
    """
    _check_pair(a, b)
    return _flat_difference(a, b).max(axis=1)


def share_beyond_grey_level(a: Faces, b: Faces) -> PerFace:
    """The share of pixels, in [0, 1], of which any channel differs by more than one of 255 grey levels.

    Raises:
        ContractError: the shapes differ.
    """
    _check_pair(a, b)
    difference = np.abs(a.astype(np.float64) - b).max(axis=1)
    share = (difference > GREY_LEVEL).mean(axis=(1, 2))
    return np.where(np.isfinite(difference).all(axis=(1, 2)), share, np.nan)


def identity_cosine(a: Embeddings, b: Embeddings) -> PerFace:
    """Cosine of the angle between embeddings (N, D), in [-1, 1]; they need not be normalised.

    Raises:
        ContractError: the shapes differ.
    """
    _check_pair(a, b)
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.clip((a * b).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny), -1.0, 1.0)


def identity_angle(a: Embeddings, b: Embeddings) -> PerFace:
    """The angle between embeddings (N, D), in degrees, [0, 180].

    Raises:
        ContractError: the shapes differ.
    """
    return np.degrees(np.arccos(identity_cosine(a, b)))


def landmark_error(found: NDArray[np.floating], truth: NDArray[np.floating]) -> PerFace:
    """Mean distance of five landmarks (N, 5, 2) from the truth, as a share of the truth's eye distance.

    Convention: x y, left eye and right eye first; NaN where no face was found.

    Raises:
        ContractError: the shapes differ, or the eyes coincide.
    """
    _check_pair(found, truth)
    eyes = np.linalg.norm(truth[:, 0] - truth[:, 1], axis=1)
    if (eyes == 0).any():
        raise ContractError("two distinct eyes a face", "eyes that coincide")
    return np.linalg.norm(found - truth, axis=2).mean(axis=1) / eyes


def _check_pair(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.shape != b.shape:
        raise ContractError("two arrays of one shape", f"{a.shape} and {b.shape}")


def _flat_difference(a: Faces, b: Faces) -> NDArray[np.float64]:
    return np.abs(a.astype(np.float64) - b).reshape(len(a), -1)


def _mean_square(a: Faces, b: Faces) -> PerFace:
    return np.square(_flat_difference(a, b)).mean(axis=1)


def _decibels(signal: PerFace, noise: PerFace) -> PerFace:
    """10 log10(signal / noise) within the limit; no noise is the upper limit, whatever the signal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10.0 * (np.log10(signal) - np.log10(noise))
    return np.where(noise == 0.0, DECIBEL_LIMIT, np.clip(ratio, -DECIBEL_LIMIT, DECIBEL_LIMIT))


def _ssim_of_one(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    x, y = (np.ascontiguousarray(face.transpose(1, 2, 0), np.float64) for face in (a, b))
    mean_x, mean_y = _window(x), _window(y)
    variances = _window(x * x) - mean_x**2 + _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    score = (2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    score /= (mean_x**2 + mean_y**2 + _SSIM_C1) * (variances + _SSIM_C2)
    margin = SSIM_WINDOW // 2
    return float(score[margin:-margin, margin:-margin].mean())


def _sharpness_of_one(found: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    judged, wanted = _gradient_energy(found), _gradient_energy(clean)
    if not (np.isfinite(judged).all() and np.isfinite(wanted).all()):
        return math.nan
    local = cv2.GaussianBlur(wanted, (0, 0), _NEIGHBOURHOOD)
    detail, smooth = local >= np.quantile(local, _DETAIL), local <= np.quantile(local, _SMOOTH)
    there = wanted[detail].mean() - wanted[smooth].mean()
    if there < _LEAST_DETAIL:
        return math.nan
    return float((judged[detail].mean() - judged[smooth].mean()) / there)


def _gradient_energy(face: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared length of the brightness gradient a pixel (S, S), from (3, S, S)."""
    light = np.tensordot(_LUMA, face.astype(np.float64), 1)
    across, down = (cv2.Sobel(light, cv2.CV_64F, x, 1 - x, ksize=3, scale=1 / 8) for x in (1, 0))
    return np.asarray(across**2 + down**2, np.float64)


def _window(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(image, (SSIM_WINDOW, SSIM_WINDOW), _SSIM_SIGMA), np.float64)
