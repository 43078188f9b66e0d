"""Which faces of a photograph are restored, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..options import PhotoOptions
from .detect import Detection

NOT_CHOSEN, SMALL, UNSURE = "not chosen", "small", "score"


def choose_faces(
    found: Sequence[Detection],
    options: PhotoOptions,
    shape: tuple[int, ...],
    likeness: Sequence[float] | None = None,
) -> list[str]:
    """Say for each face why it is left alone.

    Args:
        found: the faces.
        options: `choose`, `count`, `smallest`, `score`, `alike`.
        shape: of the photograph, rows and columns first.
        likeness: of each face to the reference person, where the options choose by it.

    Returns:
        One reason a face: empty where it is chosen, else `small`, `score` or `not chosen`.
    """
    reasons = [_unfit(one, options) for one in found]
    fit = [index for index, reason in enumerate(reasons) if not reason]
    if options.choose == "reference" and likeness is not None:
        ranks = [-value for value in likeness]
        fit = [index for index in fit if likeness[index] >= options.alike]
    else:
        ranks = [_rank(one, options.choose, shape) for one in found]
    ordered = sorted(fit, key=lambda index: ranks[index])
    chosen = set(ordered[: _count(options)])
    return [reason or ("" if index in chosen else NOT_CHOSEN) for index, reason in enumerate(reasons)]


def shorter_side(one: Detection) -> float:
    """Of a detection's box, in pixels."""
    left, top, right, bottom = one.box
    return min(right - left, bottom - top)


def _unfit(one: Detection, options: PhotoOptions) -> str:
    if shorter_side(one) < options.smallest:
        return SMALL
    return UNSURE if one.score < options.score else ""


def _count(options: PhotoOptions) -> int | None:
    return options.count if options.count is not None or options.choose == "all" else 1


def _rank(one: Detection, rule: str, shape: tuple[int, ...]) -> float:
    """The lower the better."""
    left, top, right, bottom = one.box
    x, y = (left + right) / 2, (top + bottom) / 2
    if rule == "largest":
        return -(right - left) * (bottom - top)
    if rule == "central":
        return float(np.hypot(x - shape[1] / 2, y - shape[0] / 2))
    return {"left": x, "right": -x, "top": y, "bottom": -y}.get(rule, -one.score)
