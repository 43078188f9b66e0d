"""Draws faces side by side as one picture: a block a level, a row a face, a column a method, with labels and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .faces_set import Pixels
from .report import Example

_PAPER, _INK, _SOFT = (250, 248, 244), (29, 31, 35), (86, 91, 100)
_GAP, _MARGIN = 6, 16
_HEAD, _CAPTION, _LINE = 40, 26, 18
_LARGE, _SMALL = 20, 14


def draw_sheet(blocks: Mapping[str, Sequence[Example]], notes: Sequence[str]) -> Pixels:
    """Lay out pictures.

    Args:
        blocks: heading -> rows, each of the same pictures from left to right, all of one size.
        notes: lines below, wrapped at the sheet's width.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    first = next(iter(blocks.values()))[0].pictures
    side, columns = first[0].pixels.shape[0], len(first)
    width = 2 * _MARGIN + columns * side + (columns - 1) * _GAP
    lines = [line for note in notes for line in _wrapped(note, width - 2 * _MARGIN)]
    rows = sum(len(examples) for examples in blocks.values())
    height = 2 * _MARGIN + len(blocks) * _HEAD + rows * (side + _CAPTION) + len(lines) * _LINE
    sheet = Image.new("RGB", (width, height), _PAPER)
    top = _MARGIN
    for heading, examples in blocks.items():
        top = _draw_block(sheet, heading, examples, top)
    for index, line in enumerate(lines):
        ImageDraw.Draw(sheet).text((_MARGIN, top + index * _LINE), line, _SOFT, _font(_SMALL))
    return np.asarray(sheet, np.uint8)


def _draw_block(sheet: Image.Image, heading: str, examples: Sequence[Example], top: int) -> int:
    """Draw one heading with its rows; returns where the next block begins."""
    pen, side = ImageDraw.Draw(sheet), examples[0].pictures[0].pixels.shape[0]
    for column, picture in enumerate(examples[0].pictures):
        words = f"{heading}: {picture.label}" if column == 0 else picture.label
        pen.text((_left(column, side), top + _HEAD - 8), words, _INK, _font(_LARGE), anchor="ls")
    top += _HEAD
    for example in examples:
        for column, picture in enumerate(example.pictures):
            place = (_left(column, side), top)
            sheet.paste(Image.fromarray(picture.pixels), place)
            pen.text((place[0], top + side + 2), picture.figures, _SOFT, _font(_SMALL))
        top += side + _CAPTION
    return top


def _left(column: int, side: int) -> int:
    return _MARGIN + column * (side + _GAP)


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most so many pixels, at spaces."""
    lines, font = [""], _font(_SMALL)
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
