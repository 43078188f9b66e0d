"""Angles between embeddings: histograms of genuine and impostor pairs, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

BIN_DEGREES = 2
BINS = 180 // BIN_DEGREES
_WIDTH, _HEIGHT, _GAP, _LEFT, _TOP, _BOTTOM = 230, 96, 32, 190, 34, 10
_LINE_HEIGHT = 15
# Title and legend beside each other.
_LEAST_WIDTH = 520
# Opposite embeddings do not occur: what is drawn ends here, the last bin holding the few beyond.
_SHOWN_DEGREES = 120
# Told apart by colour-blind people, and by dash where there is no colour at all.
_GENUINE, _IMPOSTOR = "#0072b2", "#d55e00"
_INK, _LINE, _PAPER = "#1a1a1a", "#cccccc", "#ffffff"


@dataclass(frozen=True)
class AngleHistogram:
    """Counts of pairs by the angle between their embeddings; bin i is [2 i, 2 i + 2) degrees, the last one closed.

    Args:
        genuine, impostor: BINS counts each.
    """

    genuine: tuple[int, ...]
    impostor: tuple[int, ...]

    def to_json(self) -> dict[str, object]:
        """The histogram as JSON values."""
        return {"bin_degrees": BIN_DEGREES, "genuine": list(self.genuine), "impostor": list(self.impostor)}


@dataclass(frozen=True)
class Panel:
    """One small histogram of a figure.

    Args:
        row, column: its headings; panels with equal headings stand in one row or column.
        histogram: what is drawn.
    """

    row: str
    column: str
    histogram: AngleHistogram


def count_angles(genuine: NDArray[np.floating], impostors: NDArray[np.floating]) -> AngleHistogram:
    """Count pairs by angle.

    Args:
        genuine, impostors: cosines, any number of each.
    """
    return AngleHistogram(_count(genuine), _count(impostors))


def _count(cosines: NDArray[np.floating]) -> tuple[int, ...]:
    degrees = np.degrees(np.arccos(np.clip(np.asarray(cosines, np.float64), -1.0, 1.0)))
    return tuple(int(count) for count in np.histogram(degrees, BINS, (0.0, 180.0))[0])


def draw_histograms(title: str, panels: Sequence[Panel]) -> str:
    """Draw panels as a table of histograms, each side scaled to its own share of pairs.

    Args:
        title: of the figure.
        panels: at least one.

    Returns:
        a self-contained SVG with a text alternative.
    """
    rows = list(dict.fromkeys(panel.row for panel in panels))
    columns = list(dict.fromkeys(panel.column for panel in panels))
    width = max(_LEAST_WIDTH, _LEFT + len(columns) * (_WIDTH + _GAP))
    height = _TOP + 22 + len(rows) * (_HEIGHT + _GAP) + _BOTTOM
    highest = max(_peak(panel.histogram) for panel in panels)
    parts = [_text(10, 20, title, size=15), *_legend(width)]
    parts += [_text(_x(index), _TOP + 14, name, size=12) for index, name in enumerate(columns)]
    for index, name in enumerate(rows):
        for line, words in enumerate(name.split(", ")):
            parts.append(_text(10, _y(index) + _HEIGHT / 2 + line * _LINE_HEIGHT, words, size=12))
    for panel in panels:
        parts += _draw(panel.histogram, _x(columns.index(panel.column)), _y(rows.index(panel.row)), highest)
    alternative = escape(f"{title}. {'; '.join(_in_words(panel) for panel in panels)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="sans-serif" aria-label="{alternative}">'
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>{"".join(parts)}</svg>\n'
    )


def _x(column: int) -> float:
    return _LEFT + column * (_WIDTH + _GAP)


def _y(row: int) -> float:
    return _TOP + 22 + row * (_HEIGHT + _GAP)


def _shares(counts: Sequence[int]) -> list[float]:
    """Shares of all pairs in the bins that are drawn, what lies beyond added to the last."""
    shown, total = _SHOWN_DEGREES // BIN_DEGREES, max(1, sum(counts))
    return [count / total for count in [*counts[: shown - 1], sum(counts[shown - 1 :])]]


def _peak(histogram: AngleHistogram) -> float:
    return max(*_shares(histogram.genuine), *_shares(histogram.impostor), 1e-9)


def _draw(histogram: AngleHistogram, left: float, top: float, highest: float) -> list[str]:
    bottom, step = top + _HEIGHT, _WIDTH * BIN_DEGREES / _SHOWN_DEGREES
    parts = [f'<path d="M{left:g} {bottom:g}h{_WIDTH}" stroke="{_INK}" fill="none"/>']
    for degrees in range(0, _SHOWN_DEGREES + 1, 30):
        x = left + _WIDTH * degrees / _SHOWN_DEGREES
        parts.append(f'<path d="M{x:.1f} {top:g}V{bottom + 3:g}" stroke="{_LINE}" fill="none"/>')
        parts.append(_text(x, bottom + 14, f"{degrees}°", size=9, anchor="middle"))
    for counts, colour, dash in ((histogram.impostor, _IMPOSTOR, "3 2"), (histogram.genuine, _GENUINE, "none")):
        heights = (bottom - share / highest * _HEIGHT for share in _shares(counts))
        steps = "".join(f"V{height:.1f}h{step:.3f}" for height in heights)
        parts.append(
            f'<path d="M{left:g} {bottom:g}{steps}V{bottom:g}Z" fill="{colour}" fill-opacity="0.25" stroke="{colour}" '
            f'stroke-dasharray="{dash}"/>'
        )
    return parts


def _legend(width: float) -> list[str]:
    names = (("genuine pairs", _GENUINE, "none", width - 230), ("impostors", _IMPOSTOR, "3 2", width - 110))
    parts = []
    for name, colour, dash, x in names:
        parts.append(f'<path d="M{x:g} 16h22" stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/>')
        parts.append(_text(x + 28, 20, name, size=12))
    return parts


def _text(x: float, y: float, words: str, *, size: int, anchor: str = "start") -> str:
    place = f'x="{x:g}" y="{y:g}" font-size="{size}" fill="{_INK}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(words)}</text>"


def _in_words(panel: Panel) -> str:
    sides = (("genuine", panel.histogram.genuine), ("impostors", panel.histogram.impostor))
    medians = ", ".join(f"{name} {_median(counts):g} degrees" for name, counts in sides)
    return f"{panel.column}, {panel.row}: median {medians}"


def _median(counts: Sequence[int]) -> float:
    """Middle of the bin that the median pair lies in."""
    middle = int(np.searchsorted(np.cumsum(counts), max(1, sum(counts)) / 2))
    return min(middle, BINS - 1) * BIN_DEGREES + BIN_DEGREES / 2
