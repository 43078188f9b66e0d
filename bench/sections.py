"""The figures of the page: parity, quality, latency and size, each as a few paragraphs and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..runtime.parity import TOLERANCES
from .chart import parity_chart
from .latency import Timing
from .markup import Cell, details, number, paragraph, table, typeset, verdict_cell
from .scoring import BICUBIC, CLEAN, INPUT, Figure, Quality, Score
from .size import Size
from .trials import Trial
from .verification import Verification

# Whether a high figure or a low one is good: `max` or `min`.
_Choice: TypeAlias = Callable[..., float | None]
# Rows that saw the clean face: what could be reached, not what anybody has.
_CEILINGS = (BICUBIC, CLEAN)
_PARITY = (
    "Each file restores the same degraded faces as its reference, one at a time, and passes when its worst face stays "
    "within every limit. Residual SNR sets what the restorer changes against the error of the copy: PSNR alone "
    "flatters a copy that changes little. Identity drift is 1 − cosine between the embeddings of the two results."
)
_EVALUATOR = (
    "Core ML files were computed here by an evaluator of their own program and weights (mil), as there is no Mac: that "
    "proves what is in the file, not the arithmetic of Apple's chips."
)
_QUALITY = (
    "Against the clean original, mean over faces ± standard error. “input” is what every restorer is given: the "
    "degraded face, enlarged by bicubic interpolation. “bicubic” is the clean face that lost only resolution, by the "
    "same factor: nobody has that picture, it shows what removing blur, noise and JPEG perfectly would give."
)
_SHARPNESS = (
    "Sharpness is the gradient energy where the original has detail, less that where it is smooth, as a share of the "
    "original's: blur lowers it, noise that covers the whole face does not raise it. Landmarks are five points that "
    "the shipped detector finds, held against those that it finds in the original."
)
_LANDMARKS = "Landmark error, % of the distance between the eyes, where the face is found"
_NOT_FOUND = "Faces not found, % of those found in the originals"
_LATENCY = (
    "Median and 90th percentile of single calls, one face each, candidates taken in turn in a shuffled order. The "
    "ratio is to the student in PyTorch, round by round. A server's processor is not a phone's: trust the ratios."
)
_VERIFICATION = (
    "People with two photographs: one stays clean, the other is degraded and restored. Rank 1 is the share found first "
    "among all people; TAR the share accepted at the given false accept rate; “clean” is the ceiling."
)


def parity_section(trials: Sequence[Trial]) -> list[str]:
    """Explain, plot and tabulate the trials."""
    if not trials:
        return []
    head = ["precision", "PSNR, at least", "difference, at most", "identity drift, at most", "why"]
    limits = [
        [
            Cell(name), number(limit.min_psnr_db, "{:g} dB"), number(limit.max_abs, "{:g}"),
            number(limit.max_identity_drift, "{:g}"), Cell(limit.reason, "prose"),
        ]
        for name, limit in TOLERANCES.items()
    ]  # fmt: skip
    evaluated = any(trial.engine == "mil" for trial in trials)
    return [
        paragraph(_PARITY),
        paragraph(_EVALUATOR) if evaluated else "",
        parity_chart(trials),
        paragraph(
            "A dot is a face, the tick its limit; from 160 dB on, two results are practically identical.", "caption"
        ),
        _trial_table(trials),
        details("The tolerances, and why", table("Tolerances", head, limits)),
        details("Every face of every candidate", _face_table(trials)),
    ]


def quality_section(quality: Quality | None) -> list[str]:
    """Explain and tabulate the validation scores, one table a metric."""
    if quality is None or not quality.scores:
        return []
    who = "" if quality.people is None else f" of {quality.people} people"
    parts = [paragraph(_QUALITY), paragraph(f"{quality.scores[0].faces} faces{who}.")]
    parts.append(paragraph(_SHARPNESS))
    parts.append(_score_table("PSNR, dB", quality, lambda score: score.psnr_db, "{:.2f}"))
    parts.append(_score_table("Gain over the input, dB", quality, lambda score: score.gain_db, "{:+.2f}"))
    parts.append(_score_table("SSIM", quality, lambda score: score.ssim, "{:.3f}"))
    parts.append(_score_table("Sharpness, 1 being the original's", quality, lambda s: s.sharpness, "{:.3f}"))
    if any(score.cosine for score in quality.scores):
        parts.append(
            _score_table("Identity: the judge's cosine to the original", quality, lambda s: s.cosine, "{:.3f}")
        )
    parts.append(_score_table(_LANDMARKS, quality, lambda score: _percent(score.landmark_error), "{:.2f}", best=min))
    parts.append(_score_table(_NOT_FOUND, quality, lambda score: _share(score.not_found), "{:.1f}", best=min))
    if quality.verification:
        parts += [paragraph(_VERIFICATION), *_verification_tables(quality.verification)]
    return parts


def latency_section(timings: Sequence[Timing]) -> list[str]:
    """Explain and tabulate the timings, one table a face size and number of threads."""
    if not timings:
        return []
    groups: dict[tuple[int, int], list[Timing]] = {}
    for timing in timings:
        groups.setdefault((timing.size, timing.threads), []).append(timing)
    return [paragraph(_LATENCY), *(_timing_table(*key, group) for key, group in groups.items())]


def size_section(sizes: Sequence[Size]) -> list[str]:
    """Tabulate bytes, and parameters and multiply-accumulates of the checkpoints."""
    if not sizes:
        return []
    sides = sorted({side for size in sizes for side in size.macs})
    largest = max(size.bytes for size in sizes)
    rows = [
        [
            Cell(size.label), Cell(f"{size.bytes / 1e6:.2f} MB", "number", size.bytes / largest),
            number(None if size.parameters is None else size.parameters / 1e6, "{:.2f} M"),
            *(number(size.macs[side] / 1e9 if side in size.macs else None, "{:.2f} G") for side in sides),
        ]
        for size in sizes
    ]  # fmt: skip
    head = ["file", "bytes", "parameters", *(f"MACs at {side}" for side in sides)]
    explained = "1 MB is a million bytes. MACs count convolutions and matrix products for one face."
    return [paragraph(explained), table("Sizes", head, rows)]


def _trial_table(trials: Sequence[Trial]) -> str:
    head = [
        "candidate", "verdict", "PSNR", "at least", "residual SNR", "difference", "identity drift", "worst face",
        "run by",
    ]  # fmt: skip
    return table("Parity: the worst face of each candidate", head, [_trial_row(trial) for trial in trials])


def _trial_row(trial: Trial) -> list[Cell]:
    report, limit = trial.report, trial.tolerance
    wanted = number(None if limit is None else limit.min_psnr_db, "{:g} dB", "dim", absent="no limit")
    where = Cell(f"{trial.engine} on {trial.device}" if trial.engine else "did not run", "dim")
    if report is None:
        empty = [number(None, "")] * 3
        return [Cell(trial.label), verdict_cell("fail"), empty[0], wanted, *empty, Cell(trial.error, "prose"), where]
    return [
        Cell(trial.label),
        verdict_cell(trial.verdict),
        number(report.min_psnr_db, "{:.1f} dB"),
        wanted,
        number(report.min_residual_snr_db, "{:.1f} dB"),
        number(report.max_abs, "{:.2g}"),
        number(report.max_identity_drift, "{:.4f}", absent="not measured"),
        Cell(": ".join(filter(None, (report.worst.name, report.worst.problem)))),
        where,
    ]


def _face_table(trials: Sequence[Trial]) -> str:
    reports = [trial.report for trial in trials if trial.report is not None]
    names = list(dict.fromkeys(row.name for report in reports for row in report.rows))
    columns = [{row.name: row for row in report.rows} for report in reports]
    rows = [
        [Cell(name), *(number(rows[name].psnr_db if name in rows else None, "{:.1f}") for rows in columns)]
        for name in names
    ]
    return table("PSNR of every face, dB", ["face", *(report.candidate for report in reports)], rows)


def _score_table(
    caption: str, quality: Quality, pick: Callable[[Score], Figure | None], pattern: str, best: _Choice = max
) -> str:
    cells = {(score.method, score.level): pick(score) for score in quality.scores}
    return _matrix(caption, cells, pattern, best, skip=(INPUT,) if caption.startswith("Gain") else ())


def _percent(figure: Figure | None) -> Figure | None:
    if figure is None:
        return None
    return Figure(100 * figure.mean, None if figure.error is None else 100 * figure.error)


def _share(value: float | None) -> Figure | None:
    return None if value is None else Figure(100 * value, None)


def _verification_tables(verification: Sequence[Verification]) -> list[str]:
    people, far = verification[0].people, verification[0].far
    accepted = {(found.method, found.level): Figure(100 * found.tar, None) for found in verification}
    first = {(found.method, found.level): Figure(100 * found.rank1, None) for found in verification}
    return [
        _matrix(f"Accepted at a false accept rate of {far:.1%}, % of {people} people", accepted, "{:.1f}"),
        _matrix(f"Found at rank 1, % of {people} people", first, "{:.1f}"),
    ]


def _matrix(
    caption: str,
    figures: Mapping[tuple[str, str], Figure | None],
    pattern: str,
    best: _Choice = max,
    skip: Sequence[str] = (),
) -> str:
    """Methods down, levels across; what stands out is the best method that has not seen the clean face."""
    methods = [method for method in dict.fromkeys(method for method, _ in figures) if method not in skip]
    levels = list(dict.fromkeys(level for _, level in figures))
    rows = [[Cell(method)] for method in methods]
    for level in levels:
        column = {method: figures.get((method, level)) for method in methods}
        honest = [figure.mean for method, figure in column.items() if figure is not None and method not in _CEILINGS]
        winner = best(honest, default=None)
        for row, (method, figure) in zip(rows, column.items(), strict=True):
            kind = "dim" if method in _CEILINGS else "best" if figure is not None and figure.mean == winner else ""
            row.append(_figure_cell(figure, pattern, kind))
    return table(caption, ["method", *levels], rows)


def _figure_cell(figure: Figure | None, pattern: str, kind: str) -> Cell:
    if figure is None:
        return number(None, pattern)
    error = "" if figure.error is None else f" ± {pattern.replace('+', '').format(figure.error)}"
    return Cell(typeset(pattern.format(figure.mean)) + error, f"number {kind}".strip())


def _timing_table(size: int, threads: int, timings: Sequence[Timing]) -> str:
    slowest = max((timing.median_ms or 0.0 for timing in timings), default=0.0)
    caption = f"One face of {size} × {size}, {threads} thread{'s' if threads > 1 else ''}"
    rows = [_timing_row(timing, slowest) for timing in timings]
    return table(caption, ["candidate", "median", "90 %", "ratio", "rounds", "run by"], rows)


def _timing_row(timing: Timing, slowest: float) -> list[Cell]:
    where = Cell(f"{timing.engine} on {timing.device}" if timing.engine else "did not run", "dim")
    if timing.median_ms is None:
        return [Cell(timing.label), *[number(None, "")] * 4, Cell(timing.error, "prose dim")]
    return [
        Cell(timing.label),
        Cell(f"{timing.median_ms:.1f} ms", "number", timing.median_ms / slowest),
        number(timing.p90_ms, "{:.1f} ms"),
        number(timing.ratio, "{:.2f} ×"),
        number(timing.rounds, "{:d}", "dim"),
        where,
    ]
