"""Pieces of HTML: escaped text, pictures as data URIs, tables that a phone and a screen reader can use."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2

from ..runtime.errors import ImageError
from .faces_set import Pixels

# Visually the same as the original at a third of a PNG's bytes; figures are never taken from these.
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: plain text; it is escaped.
        kind: CSS class: `number`, `pass`, `fail`, `reported`, `best`, `dim`; several are separated by spaces.
        bar: length of a bar behind the text, [0, 1]; None for none.
    """

    text: str
    kind: str = ""
    bar: float | None = None


def number(value: float | None, pattern: str, kind: str = "", *, absent: str = "–") -> Cell:
    """A figure, or a dash where there is none."""
    return Cell(absent if value is None else typeset(pattern.format(value)), f"number {kind}".strip())


def typeset(figure: str) -> str:
    """Give a formatted figure a true minus sign, and a rounded zero none."""
    return re.sub(r"-(?=0(\.0*)?(?![.\d]))", "", figure).replace("-", "−")


def verdict_cell(verdict: str) -> Cell:
    """A verdict by word, sign and colour: no one of them alone carries it."""
    sign = {"pass": "✓ pass", "fail": "✗ fail"}.get(verdict, "reported")
    return Cell(sign, f"verdict {verdict}")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table whose first column heads its rows; it scrolls sideways inside its own box on a narrow screen."""
    kinds = ["number" if cell.kind.startswith("number") else "" for cell in rows[0]] if rows else [""] * len(head)
    titles = "".join(
        f'<th scope="col" class="{kind}">{escape(title)}</th>' for kind, title in zip(kinds, head, strict=True)
    )
    body = "".join(_row(row) for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def picture(pixels: Pixels, alt: str, extra: str = "") -> str:
    """An image as a data URI.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        alt: what it shows.
        extra: further attributes, as they are.
    """
    height, width = pixels.shape[:2]
    return f'<img src="{data_uri(pixels)}" width="{width}" height="{height}" alt="{escape(alt)}" {extra}>'


def data_uri(pixels: Pixels) -> str:
    """Encode (H, W, 3) uint8 RGB as a JPEG data URI.

    Raises:
        ImageError: OpenCV cannot encode it.
    """
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _JPEG)
    if not done:
        raise ImageError("a picture that encodes as JPEG", f"shape {pixels.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def section(anchor: str, title: str, *parts: str) -> str:
    """A titled section of the page; empty where all its parts are."""
    body = "".join(parts)
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>' if body else ""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>" if text else ""


def details(summary: str, body: str) -> str:
    """A part that opens on demand, without JavaScript."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def definitions(pairs: Sequence[tuple[str, str]], kind: str = "") -> str:
    """A list of names and values."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="{kind}">{items}</dl>' if pairs else ""


def _row(cells: Sequence[Cell]) -> str:
    first, *rest = cells
    inner = f'<th scope="row">{escape(first.text)}</th>'
    for cell in rest:
        length = "" if cell.bar is None else f' style="--length:{max(0.0, min(1.0, cell.bar)):.4f}"'
        inner += f'<td class="{cell.kind}{" bar" if length else ""}"{length}>{escape(cell.text)}</td>'
    return f"<tr>{inner}</tr>"
