"""Embedding the pictures of a verification set, and its standard figures: ten-fold accuracy, AUC, TAR at a low FAR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..distill.faces import read_rgb
from ..runtime.decode import decode
from ..runtime.errors import ImageError, InputError
from ..runtime.faces.align import ARCFACE, Template, align_face, estimate_similarity
from ..runtime.faces.detect import Detection, Detector, detect_faces
from ..runtime.images import to_faces, to_uint8
from ..runtime.restorer import Faces
from .angles import AngleHistogram, count_angles
from .faces_set import Pixels
from .pair_sets import FOLDS, PairSet
from .verification import accept_at, area_under_curve

_BATCH = 32
_FAR = 1e-3
# Squared distances of unit vectors that insightface's evaluation tries as thresholds; below one, a pair is accepted.
_THRESHOLDS = np.arange(0, 4, 0.01)


class Embedder(Protocol):
    """Faces (N, 3, S, S) that are aligned with a template -> unit-length embeddings (N, D)."""

    def __call__(self, faces: Faces, aligned: Template) -> NDArray[np.floating]:
        """Embed faces."""
        ...


@dataclass(frozen=True)
class PairFigures:
    """How well a network does on a verification set.

    Args:
        pairs: that were scored.
        left_out: pairs with a photograph in which the detector found no face; they are in no figure.
        accuracy: mean over folds, each at the threshold that is best on the other nine.
        accuracy_spread: standard deviation over folds.
        auc: probability that a genuine cosine exceeds an impostor's, ties counting half.
        tar: share of genuine pairs accepted where at most `far` of all impostors are.
        far: that share.
        threshold: the cosine above which pairs are accepted there.
        angles: between genuine and impostor pairs.
    """

    pairs: int
    left_out: int
    accuracy: float
    accuracy_spread: float
    auc: float
    tar: float
    far: float
    threshold: float
    angles: AngleHistogram


def embed_pictures(
    pairs: PairSet,
    networks: Mapping[str, Embedder],
    detector: Detector,
    *,
    mirrored: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, NDArray[np.floating]], NDArray[np.bool_]]:
    """Embed every picture by every network, a few at a time, so that memory holds embeddings only.

    Args:
        pairs: whose pictures.
        networks: label -> network.
        detector: for photographs that are not aligned yet.
        mirrored: add the embedding of the mirror image, as insightface's published figures do.
        step: called before each batch, `batches_of` times, for a progress bar.

    Returns:
        label -> (P, D), and which of the P pictures show a face, (P,); the others' embeddings mean nothing.

    Raises:
        ImageError: a picture that cannot be read, or an aligned one that is not 112 x 112.
    """
    found: dict[str, list[NDArray[np.floating]]] = {label: [] for label in networks}
    there: list[bool] = []
    for batch in _batches(pairs, detector, step):
        there += [crop is not None for crop in batch]
        blank = np.zeros((ARCFACE.height, ARCFACE.width, 3), np.uint8)
        faces = to_faces([blank if crop is None else crop for crop in batch])
        for label, network in networks.items():
            embeddings = network(faces, ARCFACE)
            if mirrored:
                embeddings = _unit(embeddings + network(np.ascontiguousarray(faces[..., ::-1]), ARCFACE))
            found[label].append(embeddings)
    return {label: np.concatenate(parts) for label, parts in found.items()}, np.array(there)


def batches_of(pairs: PairSet) -> int:
    """How often `embed_pictures` calls its `step`."""
    return -(-len(pairs.pictures) // _BATCH)


def score_pairs(pairs: PairSet, embeddings: NDArray[np.floating], there: NDArray[np.bool_]) -> PairFigures:
    """Score a set of pairs.

    Args:
        pairs: the set.
        embeddings: (P, D) of its pictures, unit length.
        there: (P,), which pictures show a face.

    Raises:
        InputError: so few faces were found that a fold is empty or holds one kind of pair only.
    """
    first, second, same, folds = (np.array(one) for one in (pairs.first, pairs.second, pairs.same, pairs.folds))
    kept = there[first] & there[second]
    first, second, same, folds = first[kept], second[kept], same[kept], folds[kept]
    cosines = np.einsum("nd,nd->n", *(embeddings[side].astype(np.float64) for side in (first, second)))
    if len(set(folds.tolist())) < FOLDS or len(set(same.tolist())) < 2:
        raise InputError(f"faces for all {FOLDS} folds", f"{int(kept.sum())} of {len(kept)} pairs with two faces")
    right = (2 - 2 * cosines[:, None] < _THRESHOLDS) == same[:, None]
    accuracies = np.array([_accuracy_of(folds == fold, right) for fold in range(FOLDS)])
    genuine, impostors = cosines[same], cosines[~same]
    tar, threshold = accept_at(genuine, impostors, _FAR)
    return PairFigures(
        len(cosines), len(kept) - len(cosines), float(accuracies.mean()), float(accuracies.std()),
        area_under_curve(genuine, impostors), tar, _FAR, threshold, count_angles(genuine, impostors),
    )  # fmt: skip


def _accuracy_of(fold: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    """Accuracy on a fold (N,) at the first of the thresholds that are best on the others; right is (N, thresholds)."""
    best = int(right[~fold].mean(0).argmax())
    return float(right[fold, best].mean())


def _batches(pairs: PairSet, detector: Detector, step: Callable[[str], None]) -> Iterator[list[Pixels | None]]:
    for start in range(0, len(pairs.pictures), _BATCH):
        step(pairs.name)
        yield [
            _own_crop(picture, f"picture {start + index} of {pairs.name}") if pairs.aligned
            else _aligned_crop(_read(picture, pairs.name), detector)
            for index, picture in enumerate(pairs.pictures[start : start + _BATCH])
        ]  # fmt: skip


def _own_crop(picture: Path | bytes, name: str) -> Pixels:
    pixels = _read(picture, name)
    if pixels.shape != (ARCFACE.height, ARCFACE.width, 3):
        name = str(picture) if isinstance(picture, Path) else name
        raise ImageError(f"aligned crops of {ARCFACE.width} x {ARCFACE.height}", f"{pixels.shape[:2][::-1]} in {name}")
    return pixels


def _aligned_crop(photograph: Pixels, detector: Detector) -> Pixels | None:
    """The face nearest the middle, as the sets are made, on the ArcFace template; None where there is none."""
    faces = detect_faces(detector, photograph)
    if not faces:
        return None
    middle = (np.array(photograph.shape[1::-1]) - 1) / 2

    def distance(face: Detection) -> float:
        return float(np.linalg.norm(face.landmarks.mean(0) - middle))

    matrix = estimate_similarity(min(faces, key=distance).landmarks, ARCFACE, ARCFACE.width)
    return align_face(photograph, matrix, ARCFACE.width)


def _read(picture: Path | bytes, name: str) -> Pixels:
    """A picture as (H, W, 3) uint8 RGB."""
    if isinstance(picture, Path):
        return read_rgb(picture)
    pixels = to_uint8(decode(picture, name).pixels)
    return np.repeat(pixels[:, :, :1], 3, axis=2) if pixels.shape[2] < 3 else np.ascontiguousarray(pixels[:, :, :3])


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
