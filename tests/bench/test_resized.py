"""Restorers of a fixed size among faces of another."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.bench.faces_set import astronaut_faces
from pocketface.bench.resized import at_size
from pocketface.runtime.errors import ContractError
from pocketface.runtime.metrics import psnr
from pocketface.runtime.restorer import Faces

from .fakes import FakeRestorer


def test_a_restorer_that_takes_the_faces_is_left_alone() -> None:
    for size in (None, 64):
        restorer = FakeRestorer(lambda faces: faces, size)
        assert at_size(restorer, 64) is restorer


@pytest.mark.parametrize("inner", [128, 32])
def test_faces_go_there_and_back_through_the_size_it_takes(inner: int) -> None:
    seen: list[tuple[int, ...]] = []

    def look(faces: Faces) -> Faces:
        seen.append(faces.shape)
        assert faces.min() >= 0
        assert faces.max() <= 1
        return faces

    faces = astronaut_faces(64).targets[:2]
    restorer = at_size(FakeRestorer(look, inner), 64)
    restored = restorer(faces)
    assert seen == [(1, 3, inner, inner)] * 2
    assert (restored.shape, restored.dtype) == (faces.shape, faces.dtype)
    assert restorer.info.size == 64
    # enlarged and shrunk again a face comes back nearly as it was; the other way half of its resolution is lost
    assert (psnr(restored, faces) > (40 if inner > 64 else 22)).all()


def test_faces_of_a_third_size_are_refused() -> None:
    with pytest.raises(ContractError, match="64 x 64"):
        at_size(FakeRestorer(lambda faces: faces, 128), 64)(np.zeros((1, 3, 96, 96), np.float32))
