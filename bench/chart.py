"""A dot plot of parity as inline SVG: every face of every file on one scale of decibels, with its limit."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .trials import Trial

_WIDTH, _LEFT, _RIGHT = 760, 170, 24
_ROW, _TOP, _BOTTOM = 34, 10, 34
_LOW_DB, _HIGH_DB = 20.0, 160.0


def parity_chart(trials: Sequence[Trial]) -> str:
    """Draw one row a trial; a dot is a face, the tick its limit. Beyond 160 dB two outputs are as good as identical.

    Returns:
        an `<svg>` with a text alternative, or nothing where no trial has figures.
    """
    shown = [trial for trial in trials if trial.report is not None]
    if not shown:
        return ""
    height = _TOP + _ROW * len(shown) + _BOTTOM
    parts = [_axis(len(shown)), *(_trial(index, trial) for index, trial in enumerate(shown))]
    alternative = "; ".join(_in_words(trial) for trial in shown)
    return (
        f'<div class="scroll"><svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="PSNR against the reference, face by face. {escape(alternative)}">{"".join(parts)}</svg></div>'
    )


def _x(decibels: float) -> float:
    share = (min(max(decibels, _LOW_DB), _HIGH_DB) - _LOW_DB) / (_HIGH_DB - _LOW_DB)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _axis(rows: int) -> str:
    bottom = _TOP + _ROW * rows
    marks = ""
    for decibels in range(int(_LOW_DB), int(_HIGH_DB) + 1, 20):
        x, unit = _x(decibels), " dB" if decibels == _HIGH_DB else ""
        marks += f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        marks += f'<text class="mark" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{decibels}{unit}</text>'
    return marks


def _trial(index: int, trial: Trial) -> str:
    y = _TOP + _ROW * (index + 0.5)
    parts = [f'<text class="name" x="{_LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(trial.label)}</text>']
    if trial.tolerance is not None:
        x = _x(trial.tolerance.min_psnr_db)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 11:.1f}" y2="{y + 11:.1f}"/>')
    for row in trial.report.rows if trial.report is not None else ():
        if row.psnr_db is not None:
            title = f"<title>{escape(row.name)}: {row.psnr_db:.1f} dB</title>"
            parts.append(
                f'<circle class="{trial.verdict}" cx="{_x(row.psnr_db):.1f}" cy="{y:.1f}" r="4.5">{title}</circle>'
            )
    return "".join(parts)


def _in_words(trial: Trial) -> str:
    worst = None if trial.report is None else trial.report.min_psnr_db
    limit = "no limit" if trial.tolerance is None else f"limit {trial.tolerance.min_psnr_db:g}"
    return f"{trial.label}: {'no figure' if worst is None else f'{worst:.0f} dB on the worst face'}, {limit}"
