"""Who stands before the judges: the student, its teacher, the files of a bundle; and what they make of some faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..runtime import metrics
from ..runtime.manifest import hash_artefact, read_manifest
from ..runtime.restorer import Faces
from .candidates import Candidate, bundle_candidates
from .faces_set import FaceSet, to_image
from .report import Example, Picture
from .size import locate

NONE = "none"
STUDENT, TEACHER = "student", "teacher"


@dataclass(frozen=True)
class Lineup:
    """The candidates of one run.

    Args:
        student: the checkpoint that the files are held against.
        teacher: what it was distilled from; None where left out.
        files: device files of a bundle.
        bundle: their folder.
    """

    student: Candidate
    teacher: Candidate | None
    files: tuple[Candidate, ...]
    bundle: Path | None

    @property
    def networks(self) -> list[Candidate]:
        """Student and teacher."""
        return [self.student] if self.teacher is None else [self.student, self.teacher]

    @property
    def everyone(self) -> list[Candidate]:
        """All of them, the student first."""
        return [*self.networks, *self.files]

    def provenance(self) -> dict[str, str]:
        """Name -> file and sha256 of every candidate, and what the bundle says of its making."""
        facts = {}
        for candidate in self.networks:
            file = locate(candidate.path)
            facts[f"{candidate.label} weights"] = f"{file.name}, sha256 {hash_artefact(file)}"
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


def gather(student: str, teacher: str, bundle: Path | None, device: str = "auto") -> Lineup:
    """Find the candidates.

    Args:
        student: path, or name of a shipped network.
        teacher: the same, or `none`.
        bundle: folder of a bundle made from that student, or None.
        device: where student and teacher run; the files run where their engines do.

    Raises:
        InputError: a network that is not there.
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
    )


def show_faces(faces: FaceSet, results: Mapping[str, Faces], limit: int = 12) -> list[Example]:
    """Put faces side by side: input, results in their order, target.

    Args:
        faces: what was restored.
        results: label -> (N, 3, S, S).
        limit: at most so many faces, spread evenly.
    """
    columns = {"input": faces.inputs, **results}
    scores = {label: metrics.psnr(found, faces.targets) for label, found in columns.items()}
    count = len(faces.names)
    chosen = range(count) if count <= limit else np.linspace(0, count - 1, limit).round().astype(int)
    return [
        Example(
            faces.names[index],
            (
                *(
                    Picture(label, to_image(found[index]), float(scores[label][index]))
                    for label, found in columns.items()
                ),
                Picture("original", to_image(faces.targets[index])),
            ),
        )
        for index in chosen
    ]
