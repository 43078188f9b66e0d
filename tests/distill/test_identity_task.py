"""The distillation of the identity network, on tiny sets with a seeded teacher."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pocketface.distill import identity_task
from pocketface.distill.identity_task import (
    IdentityRecipe,
    Subject,
    distil_identity,
    draw_subjects,
    identity_losses,
    render,
    vary,
)
from pocketface.runtime.faces.align import ARCFACE, FFHQ, align_face, fit_similarity


def _crops(count: int = 4, side: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_subjects_are_all_crops_and_blends_of_them() -> None:
    subjects = draw_subjects(5, 3, np.random.default_rng(0))
    assert subjects[:5] == [Subject(index, index, 1.0) for index in range(5)]
    assert len(subjects) == 8
    assert all(0.35 <= subject.share <= 0.65 for subject in subjects[5:])


def test_blends_lie_between_their_faces() -> None:
    crops = np.stack([np.full((8, 8, 3), 40, np.uint8), np.full((8, 8, 3), 200, np.uint8)])
    assert (render(crops, Subject(0, 1, 0.25)) == 160).all()
    assert render(crops, Subject(1, 1, 1.0)) is not crops
    assert (render(crops, Subject(1, 1, 1.0)) == 200).all()


def test_variations_are_seeded_and_stay_aligned() -> None:
    face = cv2.resize(skimage.data.astronaut()[20:220, 125:325], (128, 128), interpolation=cv2.INTER_AREA)
    crop = align_face(face, fit_similarity(FFHQ.scaled(128), ARCFACE.scaled(112)), 112).astype(np.float64)
    varied = np.stack([vary(face, 0.0, np.random.default_rng(seed)) for seed in range(40)])
    assert varied.shape == (40, 112, 112, 3)
    np.testing.assert_array_equal(varied[3], vary(face, 0.0, np.random.default_rng(3)))
    symmetric = (crop + crop[:, ::-1]) / 2
    # Over mirror images, moves and exposures the mean is the blurred symmetric face; a wrong crop correlates far less.
    assert np.corrcoef(varied.mean(0).ravel(), symmetric.ravel())[0, 1] > 0.9


def test_degraded_variations_lose_detail() -> None:
    face = _crops(1, 128)[0]

    def detail(degraded: float) -> float:
        images = [vary(face, degraded, np.random.default_rng(seed)) for seed in range(10)]
        return float(np.mean([cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).std() for image in images]))

    assert detail(1.0) < 0.7 * detail(0.0)


def test_losses_vanish_only_for_the_teachers_embedding() -> None:
    torch.manual_seed(0)
    teacher = F.normalize(torch.randn(4, 8))
    same = identity_losses(teacher, teacher, 2.0)
    assert all(float(value) == pytest.approx(0, abs=1e-6) for value in same.values())
    turned = teacher.roll(1, dims=1)  # the same angles among the batch, but other directions
    losses = identity_losses(turned, teacher, 2.0)
    assert losses["cosine"] > 0.1
    assert losses["relational"] == pytest.approx(0, abs=1e-6)


def test_training_follows_its_teacher_and_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def teach(crops: NDArray[np.uint8], subjects: list[Subject]) -> tuple[Tensor, Tensor]:
        side = torch.tensor([1.0 if float(render(crops, subject).mean()) > 127 else -1.0 for subject in subjects])
        direction = F.normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(0)))
        return side[:, None] * direction, torch.zeros(128)

    monkeypatch.setattr(identity_task, "embed_with_teacher", teach)
    # A clock that ticks once a question: the start, then once a step, and once more a line of the log.
    ticks = iter(range(10_000))
    monkeypatch.setattr(identity_task.time, "monotonic", lambda: float(next(ticks)))
    crops = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (30, 220)])
    recipe = IdentityRecipe(seconds=12, batch=4, blends=0, learning_rate=1e-2, degraded=0.0)
    network = distil_identity(crops, recipe, tmp_path / "log.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10]
    # A random embedding of 128 numbers lies at a distance of 1 +- 0.09 from its target; measured after ten steps: 0.67.
    assert lines[-1]["cosine"] < 0.8
    assert not network.training
