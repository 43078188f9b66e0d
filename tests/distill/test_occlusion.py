from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from pocketface.distill.occlusion import FITTED, HELD_OUT, cover_face, fit, main, make_samples, relight
from pocketface.runtime.faces.align import FFHQ, align_face, estimate_similarity
from pocketface.runtime.faces.identity import IdentityNetwork
from pocketface.runtime.faces.occlusion import CHANNELS

LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])
FACE = align_face(astronaut(), estimate_similarity(LANDMARKS, FFHQ, 128), 128)


@pytest.mark.parametrize("kind", [*FITTED, *HELD_OUT])
def test_a_cover_covers_what_its_mask_says(kind: str) -> None:
    sizes = []
    for seed in range(8):
        covered, mask = cover_face(FACE, FACE[::-1], kind, np.random.default_rng(seed))
        change = np.abs(covered.astype(int) - FACE).max(axis=2)
        assert set(np.unique(mask)) <= {0, 255}
        far = np.pad(mask, 8)
        near = np.max([far[8 + dy : 136 + dy, 8 + dx : 136 + dx] for dy in range(-8, 9) for dx in range(-8, 9)], axis=0)
        assert not change[near == 0].any()  # the cover's edge is blurred by at most two pixels
        sizes.append((mask > 0).mean())
    assert 0.01 < np.mean(sizes) < 0.7


def test_relighting_keeps_the_shape_and_changes_the_light() -> None:
    found = [relight(FACE, np.random.default_rng(seed)) for seed in range(4)]
    assert all(one.shape == FACE.shape and one.dtype == np.uint8 for one in found)
    assert np.ptp([one.mean() for one in found]) > 10


def test_a_linear_truth_is_found_again() -> None:
    random = np.random.default_rng(0)
    maps = random.normal(0, 1, (900, 7, 7, CHANNELS)).astype(np.float32)
    slope = np.zeros(CHANNELS)
    slope[:5] = 0.1
    fitted = fit(maps, (maps @ slope + 0.3).astype(np.float32))
    # The ridge takes some of it away: 30 of 900 samples' worth, and half precision the rest.
    assert np.abs(fitted["weights"].astype(float) - slope).max() < 0.02
    assert np.abs(fitted["bias"].astype(float) - 0.3).max() < 0.04


def test_samples_repeat_and_one_in_four_is_bare() -> None:
    crops = np.stack([FACE, FACE[:, ::-1]])
    network = IdentityNetwork(threads=1)
    maps, cells, shares = make_samples(crops, FITTED, 4, 0, network)
    again = make_samples(crops, FITTED, 4, 0, network)
    np.testing.assert_array_equal(cells, again[1])
    assert maps.shape == (8, 7, 7, CHANNELS)
    # The mask is aligned by cubic interpolation, which overshoots a little.
    assert cells.min() > -0.05
    assert cells.max() < 1.05
    assert (shares == 0).sum() >= 2
    assert (shares > 0).sum() >= 4


def test_a_folder_without_crops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=str(tmp_path)):
        main(["--data", str(tmp_path), "--output", str(tmp_path / "out.npz")])
    assert not (tmp_path / "out.npz").exists()
