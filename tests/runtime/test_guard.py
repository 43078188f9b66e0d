from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.errors import ContractError
from pocketface.runtime.faces.align import FFHQ, align_face, estimate_similarity
from pocketface.runtime.faces.guard import SHARES, guard_identity
from pocketface.runtime.faces.identity import IdentityNetwork, to_identity_crops
from pocketface.runtime.faces.occlusion import MUCH, face_cells, hidden_cells, hidden_share, strength_for
from pocketface.runtime.faces.paste import Crop
from pocketface.runtime.images import to_faces
from pocketface.runtime.restorer import Faces

LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])
FACE = align_face(astronaut(), estimate_similarity(LANDMARKS, FFHQ, 192), 192)


def flat(level: float) -> Crop:
    return np.full((32, 32, 3), level, np.float32)


def by_level(faces: Faces) -> NDArray[np.float32]:
    """An identity that turns by 90 degrees from black to white."""
    angles = faces.mean((1, 2, 3)) * np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def verdicts(levels: list[float], floor: float) -> list[tuple[float, float]]:
    given, restored = [flat(0.0)] * len(levels), [flat(level) for level in levels]
    before = by_level(np.stack([crop.transpose(2, 0, 1) for crop in given]))
    found = guard_identity(given, restored, before, by_level, floor)
    return [(one.share, one.cosine) for one in found]


def test_each_face_is_weakened_until_it_passes_and_no_further() -> None:
    floor = np.cos(np.radians(30))  # a level of a third
    found = verdicts([0.3, 0.4, 0.6, 1.0, 0.0], floor)
    assert [share for share, _ in found] == [1.0, 0.75, 0.5, 0.25, 1.0]
    assert all(cosine >= floor for _, cosine in found)
    assert found[0][1] == pytest.approx(np.cos(np.radians(27)), abs=1e-5)


def test_what_never_passes_stays_as_it_was() -> None:
    (found,) = verdicts([1.0], 0.999)
    assert found == (0.0, 1.0)
    assert min(SHARES) > 0


def test_a_face_is_itself_and_not_its_neighbour() -> None:
    network = IdentityNetwork(threads=1)
    other = astronaut()[200:392, 128:320]
    found = network(to_faces([FACE, FACE[:, ::-1], other]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert found[0] @ found[1] > 0.8  # a mirror changes nobody
    assert found[0] @ found[2] < 0.5


def test_embeddings_do_not_depend_on_the_batch() -> None:
    network, faces = IdentityNetwork(threads=1), to_faces([FACE, FACE[::-1], FACE[:, ::-1]])
    together = network(faces)
    alone = np.concatenate([network(faces[index : index + 1]) for index in range(3)])
    # One engine, other batch sizes: the order of float32 sums.
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 32, 64), (1, 1, 64, 64), (0, 3, 64, 64), (3, 64, 64)])
def test_what_is_no_face_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ContractError, match="square faces"):
        to_identity_crops(np.zeros(shape, np.float32))


def test_covering_a_real_face_is_seen_and_where() -> None:
    network = IdentityNetwork(threads=1)
    lower, sides = FACE.copy(), FACE.copy()
    lower[112:] = (30, 60, 90)
    sides[:, 105:] = np.random.default_rng(0).integers(60, 200, sides[:, 105:].shape, np.uint8)
    _, maps = network.embed_and_map(to_faces([FACE, lower, sides]))
    bare, below, right = hidden_share(maps)
    assert bare < MUCH
    assert below > max(MUCH, bare + 0.1)
    assert right > max(MUCH, bare + 0.1)
    cells = hidden_cells(maps)
    assert cells[1, 4:].mean() > cells[1, :2].mean() + 0.2
    assert cells[2, :, 5:].mean() > cells[2, :, :2].mean() + 0.2


def test_cells_add_up_and_maps_are_checked() -> None:
    assert face_cells().sum() == pytest.approx(1)
    assert face_cells()[3, 3] > face_cells()[0, 0]
    with pytest.raises(ContractError, match="maps"):
        hidden_share(np.zeros((1, 7, 7, 64), np.float32))


def test_strength_falls_from_thirty_per_cent_to_sixty() -> None:
    assert [strength_for(share) for share in (0.0, 0.3, 0.45, 0.6, 1.0)] == pytest.approx([1, 1, 0.5, 0, 0])
