"""Who stands before the judges: the student, its teacher, the files of a bundle; and what they make of some faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime import metrics
from ..runtime.manifest import hash_artefact, read_manifest
from ..runtime.restorer import Faces
from .candidates import Candidate, bundle_candidates, locate, named_candidates, weights_of
from .faces_set import FaceSet, to_image
from .report import Example, Picture
from .scoring import BICUBIC, CLEAN, INPUT

NONE = "none"
STUDENT, TEACHER, ORIGINAL = "student", "teacher", "original"
# What these words mean in tables and pictures, no restorer may be called.
NOT_RESTORERS = (INPUT, BICUBIC, CLEAN, ORIGINAL)


@dataclass(frozen=True)
class Lineup:
    """The candidates of one run.

    Args:
        student: the checkpoint that the files are held against.
        teacher: what it was distilled from; None where left out.
        files: device files of a bundle.
        bundle: their folder.
        others: restorers to judge beside these two.
    """

    student: Candidate
    teacher: Candidate | None
    files: tuple[Candidate, ...]
    bundle: Path | None
    others: tuple[Candidate, ...] = ()

    @property
    def networks(self) -> list[Candidate]:
        """Student, teacher and the others."""
        return [self.student, *([] if self.teacher is None else [self.teacher]), *self.others]

    @property
    def everyone(self) -> list[Candidate]:
        """All of them, the student first."""
        return [*self.networks, *self.files]

    def provenance(self) -> dict[str, str]:
        """Name -> file and sha256 of every candidate, and what the bundle says of its making."""
        facts = weights_of(self.networks)
        if self.bundle is None:
            return facts
        manifest = read_manifest(self.bundle)
        tools = ", ".join(f"{name} {version}" for name, version in manifest.tools.items())
        facts["bundle"] = f"{manifest.name}, made {manifest.created}, weights' licence {manifest.source.licence}"
        facts["bundle made with"] = tools
        for artefact in manifest.artefacts:
            facts[f"{artefact.target} {artefact.precision} {artefact.size}"] = (
                f"{artefact.file.path}, sha256 {artefact.file.sha256}"
            )
        return facts


def gather(student: str, teacher: str, bundle: Path | None, device: str = "auto", others: Sequence[str] = ()) -> Lineup:
    """Find the candidates.

    Args:
        student: path, or name of a shipped network.
        teacher: the same, or `none`.
        bundle: folder of a bundle made from that student, or None.
        device: where student, teacher and the others run; the files run where their engines do.
        others: further restorers, each `LABEL=FILE`.

    Raises:
        InputError: a network that is not there, or a label that cannot be used.
        BundleError: a bundle that is damaged or made from another student.
    """
    files = () if bundle is None else tuple(bundle_candidates(bundle, hash_artefact(locate(student))))
    if teacher != NONE:
        locate(teacher)
    return Lineup(
        Candidate(STUDENT, student, "fp32", "pytorch", device),
        None if teacher == NONE else Candidate(TEACHER, teacher, "fp32", "pytorch", device),
        files,
        bundle,
        tuple(named_candidates(others, (STUDENT, TEACHER, *NOT_RESTORERS), device)),
    )


def show_faces(faces: FaceSet, results: Mapping[str, Faces], limit: int = 12) -> list[Example]:
    """Put faces side by side: input, results in their order, target.

    Args:
        faces: what was restored.
        results: label -> (N, 3, S, S).
        limit: at most so many faces, spread evenly.
    """
    columns = {INPUT: faces.inputs, **results}
    count = len(faces.names)
    chosen = range(count) if count <= limit else np.linspace(0, count - 1, limit).round().astype(int)
    return [
        Example(
            faces.names[index],
            (
                *(_judged(label, found[index], faces.targets[index]) for label, found in columns.items()),
                Picture(ORIGINAL, to_image(faces.targets[index])),
            ),
        )
        for index in chosen
    ]


def _judged(label: str, face: NDArray[np.float32], target: NDArray[np.float32]) -> Picture:
    (psnr,), (sharpness,) = (metric(face[None], target[None]) for metric in (metrics.psnr, metrics.sharpness))
    return Picture(label, to_image(face), float(psnr), None if np.isnan(sharpness) else float(sharpness))
