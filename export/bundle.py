"""Builds a bundle: every device file, each proven against the PyTorch student before the folder takes its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import fx

from ..runtime.atomic import replacing_folder
from ..runtime.backends import open_restorer
from ..runtime.backends.pytorch import PytorchRestorer
from ..runtime.errors import ExportError, InputError, OutputError
from ..runtime.manifest import (
    FILE_NAME,
    FORMAT,
    Artefact,
    Golden,
    Manifest,
    ParityFigures,
    Source,
    describe_file,
    write_manifest,
)
from ..runtime.models.checkpoint import CheckpointInfo, load_model
from ..runtime.options import LOOKS
from ..runtime.parity import TOLERANCES, ParityReport, compare
from ..runtime.weights import SHIPPED, shipped_path
from .app_files import write_app_files
from .bundle_readme import write_readme
from .calibration import ActivationRanges, check_half_range
from .calibration_set import ranges_for
from .deploy_graph import build_deploy_graph
from .golden import read_golden, write_golden
from .stored_weights import Stored, differences, digest, weights_of
from .targets import TARGETS, Job, Target

LICENCES = "LICENCES.md"
_TOOLS = (
    "pocketface",
    "torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "coremltools",
    "ai-edge-litert",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Plan:
    """What a bundle shall hold.

    Args:
        checkpoint: a student's `.safetensors`.
        targets: names of TARGETS.
        precisions: of TOLERANCES; each target writes those that it can. None takes each target's usual ones, which for
            some variants are none.
        sizes: S of the faces, each a multiple of the network's.
        calibration: folder of aligned crops to measure activation ranges on; None takes those measured beside the
            checkpoint.
        keep_float: names of nodes that 8-bit files compute in float; None takes `float_ends_of`.
    """

    checkpoint: Path
    targets: Sequence[str] = tuple(TARGETS)
    precisions: Sequence[str] | None = None
    sizes: Sequence[int] = (256,)
    calibration: Path | None = None
    keep_float: tuple[str, ...] | None = None

    def files(self) -> list[tuple[Target, str, int]]:
        """Target, precision and size of every file, in the order in which they are written.

        Raises:
            InputError: a target or precision that does not exist, a name given twice, or nothing to write.
        """
        known = {"target": tuple(TARGETS), "precision": tuple(TOLERANCES)}
        for what, names in (("target", self.targets), ("precision", self.precisions or ())):
            wrong = [name for name in names if name not in known[what]]
            if wrong:
                raise InputError(f"a {what} of {', '.join(known[what])}", f"'{wrong[0]}'")
        files = [
            (TARGETS[name], precision, size)
            for size in dict.fromkeys(self.sizes)
            for name in dict.fromkeys(self.targets)
            for precision in dict.fromkeys(TARGETS[name].usual if self.precisions is None else self.precisions)
            if precision in TARGETS[name].precisions and (size == self.sizes[0] or not TARGETS[name].flexible)
        ]
        if not files:
            raise InputError("at least one file to write", "a choice that leaves none")
        return files


def build_bundle(plan: Plan, output: Path, step: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write a bundle whole or not at all; an earlier one stays untouched until the new one is proven.

    Args:
        plan: what to write.
        output: the bundle's folder; an existing one is replaced if it is empty or a bundle.
        step: called with a few words before every file, for a progress bar.

    Raises:
        InputError: an impossible plan.
        CheckpointError: not a student's checkpoint.
        ExportError: ranges of other weights, or a file that strays beyond its tolerance.
        OutputError: the folder holds something else, or cannot be written to.
    """
    files = plan.files()
    _check_replaceable(output)
    model, info = load_model(plan.checkpoint, expect="student")
    name = plan.checkpoint.stem
    student = PytorchRestorer(model, name, info.sha256)
    for size in plan.sizes:
        if size <= 0 or size % student.info.multiple:
            raise InputError(f"sizes divisible by {student.info.multiple}", str(size))
    graph = build_deploy_graph(model)
    calibrated = any(precision in target.calibrated for target, precision, _ in files)
    ranges = ranges_for(graph, plan.checkpoint, plan.calibration) if calibrated else None
    with replacing_folder(output) as folder:
        golden = tuple(write_golden(folder, size, student) for size in dict.fromkeys(plan.sizes))
        if any(_computes_in_half(target, precision) for target, precision, _ in files):
            check_half_range(graph, read_golden(folder, golden[0])[0])
        facts = _facts(info, student)
        builder = _Builder(
            folder, name, graph, ranges, facts, golden, tuple(dict.fromkeys(plan.sizes)), plan.keep_float
        )
        artefacts = []
        for target, precision, size in files:
            step(f"{target.name} {precision} {size}")
            artefacts.append(builder.add(target, precision, size))
        source = Source(info.sha256, info.architecture, info.config, info.training, licence_of(info, plan.checkpoint))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(FORMAT, name, created, source, tool_versions(), tuple(artefacts), golden, LOOKS)
        if is_shipped(plan.checkpoint):
            shutil.copyfile(plan.checkpoint.with_name(LICENCES), folder / LICENCES)
        write_app_files(folder, manifest)
        write_readme(folder, manifest)
        write_manifest(folder, manifest)
    return manifest


@dataclass(frozen=True)
class _Builder:
    """Writes device files into a folder and proves each."""

    folder: Path
    name: str
    graph: fx.GraphModule
    ranges: ActivationRanges | None
    facts: dict[str, str]
    golden: tuple[Golden, ...]
    sizes: tuple[int, ...]
    keep_float: tuple[str, ...] | None

    def add(self, target: Target, precision: str, size: int) -> Artefact:
        """Write one file, run it, read its weights back, and describe it."""
        stem = f"{self.name}_{'flexible' if target.flexible else size}_{precision}{target.mark}"
        path = self.folder / f"{stem}{target.suffix}"
        ranges = self.ranges if precision in target.calibrated else None
        facts = self.facts | {"name": stem, "precision": precision, "native_size": str(size)}
        # With one size alone a flexible file takes twice that too.
        sizes = (self.sizes if len(self.sizes) > 1 else (size, 2 * size)) if target.flexible else ()
        target.write(Job(self.graph, size, precision, path, ranges, facts, self.keep_float, sizes))
        report, engine = self._run(path, precision, self.sizes if target.flexible else (size,))
        contents = target.read(path)
        self._check_weights(path, contents.weights)
        file = describe_file(self.folder, path.name)
        figures = _figures(report, engine)
        fingerprint = digest(contents.weights)
        return Artefact(
            file, target.name, precision, size, fingerprint, contents.inputs, contents.outputs, figures,
            contents.min_runtime,
        )  # fmt: skip

    def _run(self, path: Path, precision: str, sizes: Sequence[int]) -> tuple[ParityReport, str]:
        restorer = open_restorer(path, device="cpu")
        reports = []
        for golden in self.golden:
            if golden.size in sizes:
                given, restored = read_golden(self.folder, golden)
                reports.append(compare(restored, restorer, given, golden.names))
        report = ParityReport(
            reports[0].reference, reports[0].candidate, tuple(row for report in reports for row in report.rows)
        )
        wrong = report.violations(TOLERANCES[precision])
        if wrong:
            raise ExportError(
                f"{path.name} to restore as the student does", "; ".join(wrong[:3]), TOLERANCES[precision].reason
            )
        return report, restorer.info.engine

    def _check_weights(self, path: Path, found: Sequence[Stored]) -> None:
        wrong = differences(weights_of(self.graph), found)
        if wrong:
            raise ExportError(f"{path.name} to hold the student's weights", "; ".join(wrong[:3]))


def licence_of(info: CheckpointInfo, checkpoint: Path) -> str:
    """The terms of a checkpoint's weights, as far as they are known."""
    stated = info.training.get("licence")
    if isinstance(stated, str) and stated:
        return stated
    return f"see {LICENCES}" if is_shipped(checkpoint) else "not stated in the checkpoint"


def _computes_in_half(target: Target, precision: str) -> bool:
    """TFLite's fp16 files are widened first; delegates that compute in half precision take fp32 files too."""
    return precision == "fp16" or (target.suffix == ".mlpackage" and precision != "fp32")


def is_shipped(checkpoint: Path) -> bool:
    """Whether a checkpoint is one that PocketFace ships, so that its ledger of licences goes with it."""
    return checkpoint.resolve() in [shipped_path(name).resolve() for name in SHIPPED]


def tool_versions() -> dict[str, str]:
    """Versions of what makes a bundle, as installed here."""
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def _facts(info: CheckpointInfo, student: PytorchRestorer) -> dict[str, str]:
    return {
        "author": "PocketFace",
        "version": version("pocketface"),
        "description": "Restores one aligned face.",
        "input": "image: one face, RGB, black 0 and white 1 (or 255 where the type is uint8), aligned",
        "output": "restored: the same face, same shape, type and range",
        "preprocessing": "similarity transform of five landmarks (eyes, nose tip, mouth corners) to the FFHQ template; "
        "no mean or deviation: scaling and clamping are inside",
        "licence": str(info.training.get("licence", "see the bundle's manifest.json")),
        "checkpoint_sha256": info.sha256,
        "multiple": str(student.info.multiple),
    }


def _figures(report: ParityReport, engine: str) -> ParityFigures:
    # A report without violations has every figure; the manifest refuses any that is missing.
    figures = (report.min_psnr_db, report.mean_psnr_db, report.min_residual_snr_db, report.max_abs)
    known = [figure for figure in figures if figure is not None]
    if len(known) != len(figures):
        raise ExportError("four figures of parity", f"{len(known)}")
    return ParityFigures(engine, len(report.rows), report.worst.name, *known)


def _check_replaceable(output: Path) -> None:
    """Refuse to replace a folder that holds anything but a bundle."""
    if output.is_dir() and any(output.iterdir()) and not (output / FILE_NAME).is_file():
        raise OutputError(
            "a new or empty folder, or an earlier bundle", f"other files in {output}", "choose another name"
        )
