"""Who is judged: restorers by name, and the device files of a bundle, checked against the student they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runtime.backends import open_restorer
from ..runtime.errors import BundleError, InputError
from ..runtime.manifest import Artefact, hash_artefact, read_manifest
from ..runtime.parity import TOLERANCES
from ..runtime.restorer import Restorer
from ..runtime.weights import find_checkpoint


@dataclass(frozen=True)
class Candidate:
    """A restorer's file.

    Args:
        label: for people, for example `tflite int8 256`.
        path: the file, or the name of a shipped network.
        precision: `fp32`, `fp16` or `int8`; empty where it is held to no tolerance.
        target: `onnx`, `tflite`, `coreml` or `pytorch`; empty likewise.
        device: where it runs; `auto` is the best that its engine has.
    """

    label: str
    path: str
    precision: str = ""
    target: str = ""
    device: str = "auto"

    def open(self, *, threads: int | None = None) -> Restorer:
        """Open it with the engine for its kind; see `open_restorer` for what may be raised."""
        return open_restorer(self.path, device=self.device, threads=threads)


def named_candidates(words: Sequence[str], taken: Collection[str], device: str = "auto") -> list[Candidate]:
    """Read restorers as a user names them, each `LABEL=FILE`.

    Args:
        words: FILE is anything that `open_restorer` opens.
        taken: labels that mean something else.
        device: where they run.

    Raises:
        InputError: another form, a label that is taken or given twice, or no such file.
    """
    candidates: list[Candidate] = []
    for word in words:
        label, sign, file = word.partition("=")
        if not (label and sign and file):
            raise InputError("LABEL=FILE, for example detail=runs/detail/averaged.safetensors", f"'{word}'")
        if label in {*taken, *(candidate.label for candidate in candidates)}:
            raise InputError("a label of its own for every restorer", f"'{label}' again", "choose another label")
        locate(file)
        candidates.append(Candidate(label, file, device=device))
    return candidates


def locate(path: str) -> Path:
    """The file of a path or of a shipped network's name.

    Raises:
        InputError: nothing is there.
    """
    file = find_checkpoint(path)
    if not file.exists():
        raise InputError("a network's file", f"nothing at {file}")
    return file


def weights_of(candidates: Iterable[Candidate]) -> dict[str, str]:
    """`LABEL weights` -> name and sha256 of the file."""
    files = {candidate.label: locate(candidate.path) for candidate in candidates}
    return {f"{label} weights": f"{file.name}, sha256 {hash_artefact(file)}" for label, file in files.items()}


def bundle_candidates(bundle: Path, student_sha256: str) -> list[Candidate]:
    """List the device files of a bundle.

    Args:
        bundle: folder with `manifest.json`.
        student_sha256: of the checkpoint that they are about to be compared with.

    Raises:
        BundleError: the manifest cannot be read, names no files, was made from another checkpoint, or a file was
            changed since.
    """
    manifest = read_manifest(bundle)
    if not manifest.artefacts:
        raise BundleError("device files in the bundle", f"none in {bundle}", "export it again")
    if manifest.source.sha256 != student_sha256:
        raise BundleError(
            f"a bundle made from the student {student_sha256[:12]}", f"one made from {manifest.source.sha256[:12]}",
            "name the student it was made from with --student",
        )  # fmt: skip
    for artefact in manifest.artefacts:
        _check(bundle, artefact)
    return [
        Candidate(
            f"{artefact.target} {artefact.precision} {artefact.size}", str(bundle / artefact.file.path),
            artefact.precision, artefact.target,
        )
        for artefact in manifest.artefacts
    ]  # fmt: skip


def _check(bundle: Path, artefact: Artefact) -> None:
    if artefact.precision not in TOLERANCES:
        raise BundleError(f"a precision of {', '.join(TOLERANCES)}", f"'{artefact.precision}' in {bundle}")
    if hash_artefact(bundle / artefact.file.path) != artefact.file.sha256:
        raise BundleError(
            f"{artefact.file.path} as it was exported", "a file with another sha256", "export the bundle again"
        )
