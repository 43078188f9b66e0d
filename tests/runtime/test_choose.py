from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pocketface.runtime.faces.choose import NOT_CHOSEN, SMALL, UNSURE, choose_faces
from pocketface.runtime.faces.detect import Detection
from pocketface.runtime.options import PhotoOptions

# A 400 x 300 photograph: a large face on the left, a small one in the middle, a middling one at the top right.
BOXES = {"large": (10, 100, 110, 220), "middle": (185, 140, 215, 170), "right": (320, 5, 380, 65)}
SCORES = {"large": 0.91, "middle": 0.99, "right": 0.95}
FACES = [Detection(BOXES[name], SCORES[name], np.zeros((5, 2))) for name in BOXES]


def chosen(options: PhotoOptions, likeness: list[float] | None = None) -> list[str]:
    reasons = choose_faces(FACES, options, (300, 400, 3), likeness)
    return [name for name, reason in zip(BOXES, reasons, strict=True) if not reason]


@pytest.mark.parametrize(
    ("rule", "count", "expected"),
    [
        ("all", None, ["large", "middle", "right"]),
        ("all", 2, ["middle", "right"]),  # the surest two
        ("largest", None, ["large"]),
        ("largest", 2, ["large", "right"]),
        ("surest", None, ["middle"]),
        ("central", None, ["middle"]),
        ("left", None, ["large"]),
        ("right", None, ["right"]),
        ("top", None, ["right"]),
        ("bottom", None, ["large"]),
    ],
)
def test_each_rule_chooses_its_face(rule: str, count: int | None, expected: list[str]) -> None:
    assert chosen(PhotoOptions(choose=rule, count=count)) == expected


def test_the_reference_person_is_the_most_alike_or_nobody(tmp_path: Path) -> None:
    by_reference = PhotoOptions(choose="reference", reference=tmp_path)
    assert chosen(by_reference, [0.2, 0.95, 0.85]) == ["middle"]
    assert chosen(by_reference, [0.2, 0.1, 0.79]) == []
    assert chosen(PhotoOptions(choose="reference", reference=tmp_path, count=5), [0.2, 0.95, 0.85]) == [
        "middle",
        "right",
    ]


def test_why_a_face_is_left_alone_is_said() -> None:
    options = PhotoOptions(choose="left", smallest=40, score=0.92)
    assert choose_faces(FACES, options, (300, 400, 3)) == [UNSURE, SMALL, ""]
    assert choose_faces(FACES, PhotoOptions(choose="largest"), (300, 400, 3)) == ["", NOT_CHOSEN, NOT_CHOSEN]


def test_no_face_is_no_choice() -> None:
    assert choose_faces([], PhotoOptions(choose="largest"), (300, 400, 3)) == []
