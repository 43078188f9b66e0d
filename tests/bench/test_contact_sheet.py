"""Where the pictures of a contact sheet lie, and that its words are drawn."""

from __future__ import annotations

import numpy as np

from pocketface.bench.contact_sheet import draw_sheet
from pocketface.bench.report import Example, Picture


def example(*values: int) -> Example:
    """One row of squares in colours that no letter has."""
    squares = [np.broadcast_to(np.array([value, 0, 200], np.uint8), (64, 64, 3)) for value in values]
    return Example("face", tuple(Picture(f"p{value}", square) for value, square in zip(values, squares, strict=True)))


def places(drawn: np.ndarray, value: int) -> tuple[int, int]:
    """First row and column where a square of a value lies; checks that all of it is there."""
    rows, columns = np.nonzero((drawn == [value, 0, 200]).all(axis=2))
    assert len(rows) == 64 * 64
    return rows.min(), columns.min()


def test_rows_are_faces_columns_are_methods_and_blocks_follow_each_other() -> None:
    drawn = draw_sheet({"mild": [example(10, 40), example(70, 100)], "severe": [example(130, 160)]}, [])
    (top, left), (beside_top, beside), (below, below_left), (last, _) = (places(drawn, v) for v in (10, 40, 70, 130))
    assert (beside_top, below_left) == (top, left)
    assert beside >= left + 64
    assert below >= top + 64
    assert last > below + 64


def test_headings_and_notes_are_drawn_and_long_notes_are_wrapped() -> None:
    plain = draw_sheet({"": [example(10, 40)]}, [])
    headed = draw_sheet({"mild": [example(10, 40)]}, [])
    assert headed.shape == plain.shape
    assert not np.array_equal(headed, plain)
    noted = draw_sheet({"": [example(10, 40)]}, ["word " * 60])
    assert noted.shape[1] == plain.shape[1]
    assert noted.shape[0] > plain.shape[0] + 5 * 15
    # nothing is cut off at the right: the margin stays paper
    assert (noted[:, -8:] == plain[0, 0]).all()
