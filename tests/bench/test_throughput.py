from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from pocketface.bench.throughput import VARIANTS, Throughput, markdown, measure
from pocketface.distill.clock import SECTIONS
from pocketface.distill.degradations import Ageing
from pocketface.distill.faces import Crop, write_crops
from pocketface.distill.recipe import ModelRecipe, Recipe, Stage


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    face = cv2.resize(skimage.data.astronaut()[:220, 110:330], (64, 64), interpolation=cv2.INTER_AREA)
    crop = Crop("face.png", "astronaut", "train", "nasa", "public domain", 220.0)
    cv2.imwrite(str(folder / crop.file), np.ascontiguousarray(face[..., ::-1]))
    write_crops(folder, [crop])
    return folder


@pytest.mark.parametrize("name", ["plain", "ahead"])
def test_shares_are_of_the_whole_step(crops: Path, name: str) -> None:
    recipe = Recipe(
        ModelRecipe("student", "nano"), Ageing({"medium": 1.0}), (Stage(99, 2, 64, (1.0, 1.0), {"pixel": 1.0}),)
    )
    threads = torch.get_num_threads()
    row = measure(name, recipe, crops, 3, threads=1)
    torch.set_num_threads(threads)
    assert (row.variant, row.batch, row.crop, row.steps) == (name, 2, 64, 3)
    assert 0.5 < sum(row.shares.values()) <= 1.05  # medians of each section need not add up to the median step
    assert row.shares["backward"] > row.shares["losses"] > 0
    assert row.faces_per_second > 0
    assert row.peak_mib > 50
    assert row.gpu_percent is None


def test_the_table_is_relative_to_its_first_row() -> None:
    shares = dict.fromkeys(SECTIONS, 0.0) | {"forward": 0.25, "backward": 0.7}
    rows = [
        Throughput("plain", "cpu", 9, 4, 256, 4.0, shares, 900.0, None),
        Throughput("all", "cuda:0", 9, 4, 256, 10.0, shares, 900.0, 88.0),
    ]
    lines = markdown(rows).splitlines()
    assert lines[0] == "| variant | faces/s | ratio | forward | backward | peak MiB | GPU |"
    assert lines[2].startswith("| plain | 4.00 | 1.00 | 25% | 70% | 900 | - |")
    assert lines[3] == "| all | 10.00 | 2.50 | 25% | 70% | 900 | 88 % |"


def test_every_speed_up_is_measured_against_a_plain_run() -> None:
    assert set(VARIANTS) >= {"plain", "compile", "channels-last", "bf16", "ahead"}
    assert all(variant.speed.exact_clock for variant in VARIANTS.values())
