"""Proves a bundle again: hashes, tensors, weights, and every file run on the golden faces."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..runtime.backends import open_restorer
from ..runtime.errors import BundleError, InputError, PocketFaceError
from ..runtime.manifest import Artefact, FileEntry, Golden, Manifest, describe_file, hash_artefact, read_manifest
from ..runtime.parity import TOLERANCES, Embed, ParityReport, compare
from ..runtime.restorer import Faces, Restorer
from ..runtime.weights import SHIPPED, shipped_path
from .golden import read_golden
from .lint import lint, summary
from .stored_weights import Stored, differences, digest, weights_of
from .strength import strength_problems
from .targets import TARGETS

if TYPE_CHECKING:
    from torch import fx

_SHOWN = 3
_FIGURES = (
    "max_abs", "mean_abs", "mean_psnr_db", "min_residual_snr_db", "min_ssim", "beyond_grey_level", "max_identity_drift",
)  # fmt: skip
# Faces given, what the student made of them, and their names.
Faced: TypeAlias = "tuple[Faces, Faces, tuple[str, ...]]"


@dataclass(frozen=True)
class FileVerdict:
    """How one file of a bundle fared.

    Args:
        path: in the bundle.
        bytes: its size now; 0 where it is missing.
        engine: what ran it; empty where nothing did.
        min_psnr_db: of the worst face against the PyTorch student; None where it was not run.
        problems: what is wrong, in words; empty where nothing is.
        lint: what the delegate linter says of it in one line; empty where it was not run. It proves nothing and fails
            nothing: see `pocketface.export.lint`.
        worst_face: name of the face with the lowest PSNR; empty where none was run.
        figures: of all faces: `faces`, `max_abs`, `mean_abs`, `mean_psnr_db`, `min_residual_snr_db`, `min_ssim`,
            `beyond_grey_level` (the largest share of a face's pixels), `max_identity_drift` (None without a network).
    """

    path: str
    bytes: int
    engine: str = ""
    min_psnr_db: float | None = None
    problems: tuple[str, ...] = ()
    lint: str = ""
    worst_face: str = ""
    figures: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Gate:
    """What files are run on, beside the bundle's golden faces.

    Args:
        faces, names: more faces, (N, 3, S, S), and their names; None for none. They need a checkpoint and PyTorch.
        embed: an identity network; None leaves identity drift out.
    """

    faces: Faces | None = None
    names: tuple[str, ...] = ()
    embed: Embed | None = None


@dataclass(frozen=True)
class Verdict:
    """How a bundle fared.

    Args:
        name: of the network.
        compared_with: what the weights were compared with, in words.
        files: device files first, then golden vectors.
    """

    name: str
    compared_with: str
    files: tuple[FileVerdict, ...]

    @property
    def passed(self) -> bool:
        """Whether no file has a problem."""
        return not any(file.problems for file in self.files)


def verify_bundle(
    folder: Path,
    *,
    checkpoint: Path | None = None,
    targets: Sequence[str] | None = None,
    gate: Gate | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Prove every file of a bundle; what is wrong with one is in the verdict and does not stop the others.

    Args:
        folder: the bundle.
        checkpoint: the student it was made from; None takes the shipped one if that is it and PyTorch is here.
        targets: prove only the files of these; None proves all.
        gate: more faces and an identity network to prove them with.
        step: called with a few words before each file, for a progress bar.

    Raises:
        BundleError: no manifest, one that cannot be read, or one without files.
        InputError: a checkpoint that the bundle was not made from, or no file of the targets asked for.
        CheckpointError: a damaged checkpoint.
    """
    manifest = read_manifest(folder)
    artefacts = [artefact for artefact in manifest.artefacts if targets is None or artefact.target in targets]
    if not artefacts:
        wanted = "any target" if targets is None else " or ".join(targets)
        raise InputError(f"a bundle with files of {wanted}", f"none in {folder}")
    gate = gate or Gate()
    student, compared_with = _find_student(manifest, checkpoint)
    expected = None if student is None else weights_of(build_graph(student))
    golden: dict[int, Faced] = {}
    verdicts = []
    for entry in manifest.golden:
        step(f"golden {entry.size}")
        found, arrays = _check_golden(folder, entry)
        verdicts += found
        if arrays is not None:
            golden[entry.size] = (*arrays, entry.names)
    if gate.faces is not None:
        golden = _with_more(golden, gate, student)
    files = []
    for artefact in artefacts:
        step(artefact.file.path)
        files.append(_check_artefact(folder, artefact, golden, expected, gate.embed))
    return Verdict(manifest.name, compared_with, (*files, *verdicts))


def count_steps(folder: Path) -> int:
    """How often `verify_bundle` calls `step`, at most.

    Raises:
        BundleError: see `read_manifest`.
    """
    manifest = read_manifest(folder)
    return len(manifest.artefacts) + len(manifest.golden)


def _find_student(manifest: Manifest, checkpoint: Path | None) -> tuple[Any, str]:
    """The network that every file should hold, or None, and where it comes from, in words."""
    path = checkpoint if checkpoint is not None else _shipped_source(manifest)
    if path is None:
        return None, "the manifest: the checkpoint is not at hand"
    if checkpoint is None and importlib.util.find_spec("torch") is None:
        return None, "the manifest: PyTorch, which reads the checkpoint, is not installed"
    from ..runtime.models.checkpoint import load_model

    model, info = load_model(path, expect="student")
    if info.sha256 != manifest.source.sha256:
        raise InputError(
            f"the checkpoint with sha256 {manifest.source.sha256[:12]}",
            f"{info.sha256[:12]} at {path}",
            "see manifest.json",
        )
    return model, f"the manifest and the checkpoint {path.name}"


def build_graph(student: Any) -> fx.GraphModule:
    """The deploy graph of a network; PyTorch is imported here and not before."""
    from .deploy_graph import build_deploy_graph

    return build_deploy_graph(student)


def _with_more(golden: dict[int, Faced], gate: Gate, student: Any) -> dict[int, Faced]:
    """The golden faces together with those of the gate."""
    if student is None or gate.faces is None:
        raise InputError("the checkpoint, to know what the student makes of more faces", "none", "give --checkpoint")
    from ..runtime.backends.pytorch import PytorchRestorer

    size = gate.faces.shape[-1]
    if size not in golden:
        raise InputError(f"faces of {' or '.join(map(str, golden))} pixels", str(size))
    given, restored, names = golden[size]
    more = PytorchRestorer(student, "student")(gate.faces)
    together = (np.concatenate([given, gate.faces]), np.concatenate([restored, more]), (*names, *gate.names))
    return {**golden, size: together}


def _shipped_source(manifest: Manifest) -> Path | None:
    paths = [path for path in map(shipped_path, SHIPPED) if path.is_file()]
    return next((path for path in paths if hash_artefact(path) == manifest.source.sha256), None)


def _check_entry(folder: Path, entry: FileEntry) -> FileVerdict:
    """Compare a file's presence, size and hash with the manifest."""
    try:
        found = describe_file(folder, entry.path)
    except BundleError:
        return FileVerdict(entry.path, 0, problems=("missing",))
    if found.bytes != entry.bytes:
        return FileVerdict(entry.path, found.bytes, problems=(f"{found.bytes} bytes instead of {entry.bytes}",))
    if found.sha256 != entry.sha256:
        words = f"changed: sha256 {found.sha256[:12]} instead of {entry.sha256[:12]}"
        return FileVerdict(entry.path, found.bytes, problems=(words,))
    return FileVerdict(entry.path, found.bytes)


def _check_golden(folder: Path, golden: Golden) -> tuple[list[FileVerdict], tuple[Faces, Faces] | None]:
    verdicts = [_check_entry(folder, entry) for entry in (golden.given, golden.restored)]
    if any(verdict.problems for verdict in verdicts):
        return verdicts, None
    try:
        return verdicts, read_golden(folder, golden)
    except BundleError as error:
        broken = FileVerdict(golden.given.path, verdicts[0].bytes, problems=(str(error),))
        return [broken, verdicts[1]], None


def _check_artefact(
    folder: Path,
    artefact: Artefact,
    golden: Mapping[int, Faced],
    expected: tuple[Stored, ...] | None,
    embed: Embed | None,
) -> FileVerdict:
    found = _check_entry(folder, artefact.file)
    if found.problems:
        return found  # engines may crash on damaged files: they are not shown any
    try:
        problems = _check_contents(folder / artefact.file.path, artefact, expected)
        if artefact.size not in golden:
            raise BundleError(f"golden faces of {artefact.size} pixels", "none that are whole")
        restorer = open_restorer(folder / artefact.file.path, device="cpu")
        report = _run(restorer, artefact, golden, embed)
    except PocketFaceError as error:
        return FileVerdict(found.path, found.bytes, problems=(str(error),))
    problems += _some(report.violations(TOLERANCES[artefact.precision]))
    given = golden[artefact.size][0]
    problems += strength_problems(restorer, given, artefact.inputs, artefact.target, artefact.precision)
    engine, remark = restorer.info.engine, summary(lint(folder / artefact.file.path))
    return FileVerdict(
        found.path, found.bytes, engine, report.min_psnr_db, tuple(problems), remark, report.worst.name,
        {"faces": len(report.rows), **{name: getattr(report, name) for name in _FIGURES}},
    )  # fmt: skip


def _run(restorer: Restorer, artefact: Artefact, golden: Mapping[int, Faced], embed: Embed | None) -> ParityReport:
    """Run a file on the faces of its size, and a flexible one on those of every size that it takes."""
    rows = []
    for size, (given, restored, names) in golden.items():
        if size == artefact.size or (restorer.info.size is None and size % restorer.info.multiple == 0):
            rows += compare(restored, restorer, given, names, embed).rows
    return ParityReport("student", artefact.file.path, tuple(rows))


def _check_contents(path: Path, artefact: Artefact, expected: tuple[Stored, ...] | None) -> list[str]:
    """Compare a file's tensors and decoded weights with the manifest and, where it is at hand, the checkpoint."""
    if artefact.target not in TARGETS or artefact.precision not in TOLERANCES:
        known = f"a target of {', '.join(TARGETS)} in {', '.join(TOLERANCES)}"
        raise BundleError(known, f"{artefact.target} in {artefact.precision}")
    contents = TARGETS[artefact.target].read(path)
    problems = []
    if (contents.inputs, contents.outputs) != (artefact.inputs, artefact.outputs):
        problems.append("its tensors are not those of the manifest")
    if digest(contents.weights) != artefact.weights_sha256:
        problems.append("its weights are not those of the manifest")
    if expected is not None:
        problems += _some(differences(expected, contents.weights))
    return problems


def _some(words: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    more = [f"and {len(words) - _SHOWN} more"] if len(words) > _SHOWN else []
    return words[:_SHOWN] + more
