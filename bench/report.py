"""What a run of the judges found, written as one JSON file and one self-contained HTML page."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ..export.bundle import tool_versions
from ..runtime.atomic import replacing_file
from ..runtime.parity import TOLERANCES
from .effort import Effort
from .faces_set import Pixels
from .latency import Timing
from .scoring import Quality
from .size import Size
from .trials import Trial

FORMAT = "pocketface-report-2"


@dataclass(frozen=True)
class Picture:
    """One picture of a row of faces.

    Args:
        label: `input`, `student`, `teacher`, `target`, ...
        pixels: (S, S, 3) uint8 RGB.
        psnr_db, sharpness: against the target; None for the target itself.
    """

    label: str
    pixels: Pixels
    psnr_db: float | None = None
    sharpness: float | None = None

    @property
    def figures(self) -> str:
        """The figures as a caption."""
        known = ((self.psnr_db, "{:.1f} dB"), (self.sharpness, "sharpness {:.2f}"))
        return ", ".join(pattern.format(figure) for figure, pattern in known if figure is not None)


@dataclass(frozen=True)
class Example:
    """One face, side by side: what went in, what each restorer made of it, and the original.

    Args:
        name: of the face.
        pictures: from left to right.
    """

    name: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class BeforeAfter:
    """A whole photograph before and after.

    Args:
        before: (H, W, 3) uint8 RGB.
        after: label -> the photograph restored by it, same shape.
        caption: what is shown, and what was found in it.
        close_up: the part to look at closely, as left, top, width, height in pixels; None for none.
        original: what the photograph was before it aged, where that is known.
    """

    before: Pixels
    after: Mapping[str, Pixels]
    caption: str
    close_up: tuple[int, int, int, int] | None = None
    original: Pixels | None = None


@dataclass(frozen=True)
class Report:
    """Everything that one page shows; empty parts are left out of it.

    Args:
        title: what kind of report.
        command: how to make it again.
        faces_source: where the faces of the trials come from.
        provenance: name -> value: files with their sha256, data, licence.
        notes: what the reader must know before trusting a figure.
        photo: a whole photograph.
        examples: faces side by side.
        trials: parity.
        timings, sizes, quality: what the other judges found.
        training: label -> how much training the checkpoints have had, where they tell.
        created: UTC.
    """

    title: str
    command: str
    faces_source: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    photo: BeforeAfter | None = None
    examples: Sequence[Example] = ()
    trials: Sequence[Trial] = ()
    timings: Sequence[Timing] = ()
    sizes: Sequence[Size] = ()
    quality: Quality | None = None
    training: Mapping[str, Effort] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def held(self) -> list[Trial]:
        """The trials that a tolerance applies to."""
        return [trial for trial in self.trials if trial.tolerance is not None]

    @property
    def failed(self) -> list[Trial]:
        """The trials that failed."""
        return [trial for trial in self.trials if trial.verdict == "fail"]

    @property
    def verdict(self) -> str:
        """`fail` where a trial failed, else `pass` where some were held to a tolerance, else `reported`."""
        if self.failed:
            return "fail"
        return "pass" if self.held else "reported"

    @property
    def headline(self) -> str:
        """The verdict as a sentence."""
        if self.failed:
            return (
                f"{len(self.failed)} of {self._judged()} {'goes' if len(self.failed) == 1 else 'go'} beyond tolerance"
            )
        if self.held:
            words = (
                f"All {self._judged()} restore" if len(self.held) > 1 else f"{self.held[0].label.capitalize()} restores"
            )
            return f"{words} as the student does"
        known = [(trial.label, trial.report.min_psnr_db) for trial in self.trials if trial.report is not None]
        if known and known[0][1] is not None:
            return f"{known[0][0].capitalize()}: {known[0][1]:.1f} dB on the worst face"
        return self.title.capitalize()

    def _judged(self) -> str:
        """How many of what: another network has no tolerance, but can break the contract and so fail."""
        if any(trial not in self.held for trial in self.failed):
            return f"{len(self.trials)} comparisons"
        copies = any(trial.target == "pytorch" for trial in self.held)
        return f"{len(self.held)} {'copies' if copies else 'files'}"


def machine_facts() -> dict[str, str]:
    """What the figures were taken on: processor, system, accelerators, versions of the tools that are installed."""
    facts = {"machine": f"{_processor()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"}
    facts["accelerator"] = _accelerator()
    facts["tools"] = ", ".join(f"{tool} {found}" for tool, found in tool_versions().items())
    return facts


def report_to_json(report: Report) -> dict[str, object]:
    """The report as JSON values; pictures stay in the page."""
    return {
        "format": FORMAT,
        "title": report.title,
        "verdict": report.verdict,
        "headline": report.headline,
        "created": report.created.isoformat(timespec="seconds"),
        "command": report.command,
        "faces_source": report.faces_source,
        "notes": list(report.notes),
        "tolerances": {name: dataclasses.asdict(tolerance) for name, tolerance in TOLERANCES.items()},
        "parity": [trial.to_json() for trial in report.trials],
        "latency": [dataclasses.asdict(timing) for timing in report.timings],
        "sizes": [dataclasses.asdict(size) for size in report.sizes],
        "quality": None if report.quality is None else dataclasses.asdict(report.quality),
        "training": {label: dataclasses.asdict(effort) for label, effort in report.training.items()},
        "provenance": dict(report.provenance),
    }


def write_json(report: Report, path: Path) -> None:
    """Write the figures as strict JSON.

    Raises:
        OutputError: the place cannot be written to.
    """
    text = json.dumps(_finite(report_to_json(report)), indent=1, allow_nan=False)
    with replacing_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_html(report: Report, path: Path) -> None:
    """Write the page: one file, no request to anywhere.

    Raises:
        OutputError: the place cannot be written to.
    """
    from .page import render_page  # a JSON-only run reads no templates

    with replacing_file(path) as temporary:
        temporary.write_text(render_page(report), encoding="utf-8")


def _finite(value: object) -> object:
    """Replace NaN and infinities by null: a broken figure must not make the file unreadable."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _accelerator() -> str:
    try:
        import torch
    except ImportError:
        return "none seen: PyTorch is not installed"
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "Apple GPU (MPS)"
    return "none: everything ran on the CPU"
