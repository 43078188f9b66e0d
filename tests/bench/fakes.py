"""Restorers and bundles for the judges' tests: small, seeded, quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pocketface.bench.candidates import Candidate
from pocketface.runtime.errors import BackendError
from pocketface.runtime.faces.align import FFHQ
from pocketface.runtime.faces.detect import Detection
from pocketface.runtime.manifest import (
    FORMAT,
    Artefact,
    Manifest,
    ParityFigures,
    Source,
    TensorSpec,
    describe_file,
    hash_artefact,
    write_manifest,
)
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.student import StudentConfig, StudentRestorer
from pocketface.runtime.restorer import Faces, Restorer, RestorerInfo

TINY = StudentConfig((8, 8), (1,), 1, (1,), 1)


class FakeRestorer:
    """Applies a function to faces."""

    def __init__(self, work: Callable[[Faces], Faces], size: int | None = None, engine: str = "numpy") -> None:
        self.info = RestorerInfo("fake", engine, "cpu", size, 8, size or 64, "0" * 64)
        self.work = work

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:  # noqa: ARG002 - the contract's
        return self.work(faces)


class FakeDetector:
    """Finds one face, aligned to the template but for a shift to the right in pixels; None finds no face."""

    name = "fake"

    def __init__(self, shift: Callable[[np.ndarray], float | None]) -> None:
        self.shift = shift

    def __call__(self, image: np.ndarray) -> list[Detection]:
        shift, side = self.shift(image), len(image)
        box = (0.0, 0.0, float(side), float(side))
        return [] if shift is None else [Detection(box, 1.0, FFHQ.scaled(side) + np.array([shift, 0]))]


@dataclass(frozen=True)
class FakeCandidate(Candidate):
    """Opens a restorer that exists already; without one it fails as a missing engine does."""

    restorer: Restorer | None = None

    def open(self, *, threads: int | None = None) -> Restorer:
        """The restorer."""
        assert threads is None or threads > 0
        if self.restorer is None:
            raise BackendError("the engine", "none")
        return self.restorer


def fake_candidate(label: str, restorer: Restorer | None, precision: str = "fp32") -> FakeCandidate:
    return FakeCandidate(label, "nowhere", precision, "onnx", restorer=restorer)


def save_student(path: Path, shift: float = 0.0, training: dict[str, object] | None = None) -> Path:
    """Write a tiny student; `shift` moves all its results by so much, `training` is what its header tells."""
    torch.manual_seed(0)
    student = StudentRestorer(TINY)
    with torch.no_grad():
        last = student.tail[2]
        assert isinstance(last, torch.nn.Conv2d)
        assert last.bias is not None
        last.bias.add_(shift)
    save_checkpoint(path, student, training=training or {"data": "none"})
    return path


def save_bundle(folder: Path, student: Path, file: Path, precision: str = "fp32") -> Path:
    """Write a bundle whose only device file is another checkpoint, which any machine can run."""
    folder.mkdir()
    (folder / "copy.safetensors").write_bytes(file.read_bytes())
    spec = TensorSpec("faces", ("N", 3, "S", "S"), "float32", "NCHW", 0.0, 1.0)
    figures = ParityFigures("pytorch", 1, "mild", 100.0, 100.0, 50.0, 0.0)
    artefact = Artefact(
        describe_file(folder, "copy.safetensors"), "onnx", precision, 256, "0" * 64, (spec,), (spec,), figures
    )
    source = Source(hash_artefact(student), "student", {}, {}, "Apache-2.0")
    manifest = Manifest(FORMAT, "tiny", "2026-11-23T00:00:00+00:00", source, {"torch": "2"}, (artefact,), (), {})
    write_manifest(folder, manifest)
    return folder


def save_crops(folder: Path, splits: dict[str, str]) -> None:
    """Write a folder of crops with its table: one noisy square a person, named after them."""
    folder.mkdir(exist_ok=True)
    lines = ["file,identity,split,group,licence,native_px"]
    for seed, (person, split) in enumerate(splits.items()):
        image = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"{person}.png"), image)
        lines.append(f"{person}.png,{person},{split},group,CC0-1.0,300")
    (folder / "crops.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
