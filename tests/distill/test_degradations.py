from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from pocketface.distill import degradations
from pocketface.distill.degradations import Ageing, age
from pocketface.runtime.faces.degrade import LEVELS, degrade_face, jpeg

SIDE = 128


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return cv2.resize(skimage.data.astronaut()[0:256, 100:356], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def batch(face: np.ndarray) -> Tensor:
    return torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_follows_the_real_codec(face: np.ndarray, batch: Tensor, quality: int) -> None:
    ours = degradations._quantise(degradations._jpeg(batch, torch.tensor([float(quality)])))
    real = torch.from_numpy(jpeg(face, quality)).permute(2, 0, 1)[None].float() / 255
    # The codec enlarges chroma with another filter; the rest must agree far better than JPEG differs from the original.
    assert psnr(ours, real) > 38
    assert psnr(ours, real) > psnr(real, batch) + 5


@pytest.mark.parametrize("level", ["x4", "x8"])
def test_pure_downscaling_equals_the_reference_grid(face: np.ndarray, batch: Tensor, level: str) -> None:
    ours, target = age(batch, Ageing({level: 1.0}), seeded())
    real = torch.from_numpy(degrade_face(face, level, 0)).permute(2, 0, 1)[None].float() / 255
    assert torch.equal(target, batch)
    # Both round to uint8 twice; OpenCV's fixed-point bicubic may land one grey level away.
    assert float((ours - real).abs().max()) <= 2.5 / 255


@pytest.mark.parametrize("level", ["mild", "medium", "severe"])
def test_levels_are_as_hard_as_the_reference_grid(face: np.ndarray, batch: Tensor, level: str) -> None:
    many = batch.expand(24, -1, -1, -1)
    ours, _ = age(many, Ageing({level: 1.0}), seeded(1))
    real = [torch.from_numpy(degrade_face(face, level, seed)).permute(2, 0, 1).float() / 255 for seed in range(24)]
    hardness = [psnr(a, batch[0]) for a in ours], [psnr(a, batch[0]) for a in real]
    # Independent draws of the same ranges: the spread of one draw is about 1.5 dB, of a mean of 24 about 0.3.
    assert abs(np.mean(hardness[0]) - np.mean(hardness[1])) < 1.0


def test_blur_matches_opencv(face: np.ndarray, batch: Tensor) -> None:
    matrix = degradations._blur_matrix(SIDE, 2.0)
    ours = matrix @ batch @ matrix.T
    real = cv2.GaussianBlur(face.astype(np.float32) / 255, (17, 17), 2.0)
    assert float((ours[0].permute(1, 2, 0) - torch.from_numpy(real)).abs().max()) < 1e-5  # float32 rounding


def test_the_seed_decides_everything(batch: Tensor) -> None:
    ageing = Ageing({"mild": 1.0, "severe": 1.0}, clean=0.2, grey=0.3, sepia=0.3, faded=0.5)
    many = batch.expand(6, -1, -1, -1)
    first, again, other = (age(many, ageing, seeded(number))[0] for number in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_tone_changes_input_and_target_alike(batch: Tensor) -> None:
    aged, target = age(batch, Ageing({"mild": 1.0}, grey=1.0), seeded())
    assert float((target - target.mean(1, keepdim=True)).abs().max()) < 1e-6
    # Grey stays grey but for the noise of the level, which is drawn for each colour.
    assert float((aged.mean((2, 3)) - aged.mean((1, 2, 3))).abs().max()) < 0.01


def test_clean_faces_pass_unchanged(batch: Tensor) -> None:
    aged, target = age(batch, Ageing({"severe": 1.0}, clean=1.0), seeded())
    assert torch.equal(aged, batch)
    assert torch.equal(target, batch)


@pytest.mark.parametrize("level", LEVELS)
def test_results_stay_in_range(batch: Tensor, level: str) -> None:
    aged, _ = age(batch.expand(4, -1, -1, -1), Ageing({level: 1.0}), seeded(7))
    assert aged.shape == (4, 3, SIDE, SIDE)
    assert 0.0 <= float(aged.min()) <= float(aged.max()) <= 1.0
