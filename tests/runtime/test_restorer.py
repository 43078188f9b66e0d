from __future__ import annotations

import numpy as np
import pytest

from pocketface.runtime.errors import ContractError
from pocketface.runtime.restorer import RestorerInfo, check_faces

FIXED = RestorerInfo("fixed", "litert", "cpu", 256, 32, 256, "0" * 64)
FREE = RestorerInfo("free", "pytorch", "cpu", None, 32, 256, "0" * 64)


def faces(*shape: int) -> np.ndarray:
    return np.full(shape, 0.5, np.float32)


def test_good_faces_pass_untouched() -> None:
    good = faces(2, 3, 256, 256)
    assert check_faces(good, FIXED) is good


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (faces(1, 3, 64, 64).astype(np.float64), "float32, got float64"),
        ((faces(1, 3, 64, 64) * 255).astype(np.uint8), "float32, got uint8"),
        (faces(1, 64, 64, 3), "channels come before"),
        (faces(3, 64, 64), "shape"),
        (faces(1, 3, 64, 96), "shape"),
        (faces(0, 3, 64, 64), "shape"),
        (faces(1, 3, 64, 64) * 255, "values in"),
        (faces(1, 3, 64, 64) - 1, "values in"),
        (faces(1, 3, 64, 64) * np.float32("nan"), "values in"),
    ],
)
def test_what_breaks_the_contract_is_named(bad: np.ndarray, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        check_faces(bad)


def test_sizes_are_the_restorers_own() -> None:
    with pytest.raises(ContractError, match="256 x 256 for fixed, got 512"):
        check_faces(faces(1, 3, 512, 512), FIXED)
    with pytest.raises(ContractError, match="divisible by 32"):
        check_faces(faces(1, 3, 72, 72), FREE)
