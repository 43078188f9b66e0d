"""Charts as SVG: parity, every face of every file on one scale of decibels with its limit; and lines over an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .trials import Trial

_WIDTH, _LEFT, _RIGHT = 760, 170, 24
_ROW, _TOP, _BOTTOM = 34, 10, 34
_LOW_DB, _HIGH_DB = 20.0, 160.0

_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 64, 740, 40, 400
_LEGEND_COLUMNS = 3
_MOST_DECADES = 4  # beyond this 2 and 5 of each decade are not marked
# Source: Okabe and Ito 2008: told apart by nearly all colour-blind people.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


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


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Args:
        name: for the legend.
        points: (x, y, half the height of the error bar), by x.
        dots: mark the points, as where each was measured; a line of many needs none.
    """

    name: str
    points: Sequence[tuple[float, float, float]]
    dots: bool = True


def line_chart(title: str, x_label: str, y_label: str, series: Sequence[Series], *, log_x: bool = False) -> str:
    """Draw lines as an SVG file of its own: light, whatever surrounds it.

    Args:
        title: also the text alternative.
        x_label, y_label: what the axes show, with units.
        series: at least one, each with a point.
        log_x: a logarithmic x axis; all x above 0.
    """
    across = _Axis([x for one in series for x, _, _ in one.points], log=log_x)
    up = _Axis([y + error * side for one in series for _, y, error in one.points for side in (-1, 1)])
    parts = [_grid(across, up), _words(title, x_label, y_label)]
    parts += [_line(one, _COLOURS[index % len(_COLOURS)], across, up) for index, one in enumerate(series)]
    parts += [_legend(one, _COLOURS[index % len(_COLOURS)], index) for index, one in enumerate(series)]
    height = _PLOT_BOTTOM + 56 + 20 * -(-len(series) // _LEGEND_COLUMNS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="13" fill="#1d1f23">'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


class _Axis:
    """From values to shares of the axis' length, with round marks."""

    def __init__(self, values: Sequence[float], *, log: bool = False) -> None:
        self._log = log
        scaled = [math.log10(value) if log else value for value in values]
        margin = 0.05 * (max(scaled) - min(scaled)) or 0.5
        self._low, self._high = min(scaled) - margin, max(scaled) + margin
        marks = _decade_marks(self._low, self._high) if log else _even_marks(self._low, self._high)
        self.marks = [mark for mark in marks if 0 <= self.share(mark) <= 1]

    def share(self, value: float) -> float:
        """Where a value lies: 0 is the axis' beginning, 1 its end."""
        return ((math.log10(value) if self._log else value) - self._low) / (self._high - self._low)


def _even_marks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, five to twelve of them between two values."""
    part = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(part))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= part)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _decade_marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade between two logarithms; powers of ten alone where there are many."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    steps = (1,) if len(decades) > _MOST_DECADES else (1, 2, 5)
    return [step * 10.0**decade for decade in decades for step in steps]


def _across(share: float) -> float:
    return _PLOT_LEFT + share * (_PLOT_RIGHT - _PLOT_LEFT)


def _up(share: float) -> float:
    return _PLOT_BOTTOM - share * (_PLOT_BOTTOM - _PLOT_TOP)


def _grid(across: _Axis, up: _Axis) -> str:
    marks = ""
    for mark in across.marks:
        x = _across(across.share(mark))
        marks += f'<path d="M{x:.1f} {_PLOT_TOP}V{_PLOT_BOTTOM}" stroke="#dcd8cf"/>'
        marks += f'<text x="{x:.1f}" y="{_PLOT_BOTTOM + 18}" text-anchor="middle" fill="#565b64">{mark:g}</text>'
    for mark in up.marks:
        y = _up(up.share(mark))
        marks += f'<path d="M{_PLOT_LEFT} {y:.1f}H{_PLOT_RIGHT}" stroke="#dcd8cf"/>'
        words = f"{round(mark, 9):g}"
        marks += f'<text x="{_PLOT_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#565b64">{words}</text>'
    return marks


def _words(title: str, x_label: str, y_label: str) -> str:
    middle, height = (_PLOT_LEFT + _PLOT_RIGHT) / 2, (_PLOT_TOP + _PLOT_BOTTOM) / 2
    return (
        f'<text x="{_PLOT_LEFT}" y="24" font-size="16" font-weight="600">{escape(title)}</text>'
        f'<text x="{middle}" y="{_PLOT_BOTTOM + 38}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(18 {height}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )


def _line(series: Series, colour: str, across: _Axis, up: _Axis) -> str:
    places = [(_across(across.share(x)), _up(up.share(y))) for x, y, _ in series.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
    for (x, y), (value, figure, error) in zip(places, series.points if series.dots else (), strict=False):
        if error:
            parts += f'<path d="M{x:.1f} {_up(up.share(figure - error)):.1f}V{_up(up.share(figure + error)):.1f}" '
            parts += f'stroke="{colour}"/>'
        words = f"{escape(series.name)}: {figure:.3g} at {value:.3g}"
        parts += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{words}</title></circle>'
    return parts


def _legend(series: Series, colour: str, index: int) -> str:
    row, column = divmod(index, _LEGEND_COLUMNS)
    x, y = _PLOT_LEFT + column * (_PLOT_RIGHT - _PLOT_LEFT) / _LEGEND_COLUMNS, _PLOT_BOTTOM + 62 + 20 * row
    mark = f'<path d="M{x:.1f} {y - 4}h22" stroke="{colour}" stroke-width="3"/>'
    return f'{mark}<text x="{x + 30:.1f}" y="{y}">{escape(series.name)}</text>'
