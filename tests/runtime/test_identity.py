"""MobileFaceNet, the resampling to identity crops, and the judges."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketface.runtime.errors import CheckpointError, ContractError
from pocketface.runtime.faces.align import (
    ARCFACE,
    FFHQ,
    SPHEREFACE,
    Template,
    align_face,
    estimate_similarity,
    fit_similarity,
)
from pocketface.runtime.models.dlib_resnet import DLIB
from pocketface.runtime.models.identity import (
    MobileFaceNet,
    MobileFaceNetConfig,
    faces_to_identity_crops,
)

# The astronaut's landmarks, placed by dlib's 68-point predictor and checked by eye.
ASTRONAUT = np.array([[203.2, 101.5], [246.5, 104.2], [225.0, 127.0], [201.0, 139.0], [246.0, 141.0]])


def _astronaut(size: int) -> NDArray[np.uint8]:
    """The aligned face, (size, size, 3)."""
    return align_face(skimage.data.astronaut(), estimate_similarity(ASTRONAUT, FFHQ, size), size).astype(np.uint8)


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def _seeded(rows: int = 112, columns: int = 112) -> MobileFaceNet:
    torch.manual_seed(0)
    return MobileFaceNet(MobileFaceNetConfig(rows, columns)).eval()


def test_embeddings_have_unit_length() -> None:
    embeddings = _seeded()(torch.rand(2, 3, 112, 112))
    assert embeddings.shape == (2, 128)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_size_is_that_of_the_paper() -> None:
    # Chen et al. state 0.99 M; the widely used 112 x 96 port counts 0.9996 M.
    assert sum(parameter.numel() for parameter in _seeded(112, 96).parameters()) == pytest.approx(0.9996e6, rel=1e-4)


def test_colours_are_scaled_inside() -> None:
    network, seen = _seeded(), []
    network.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.stack([torch.zeros(3, 112, 112), torch.ones(3, 112, 112)]))
    assert seen[0][0].unique().item() == pytest.approx(-127.5 / 128)
    assert seen[0][1].unique().item() == pytest.approx(127.5 / 128)


def test_other_crops_are_refused() -> None:
    with pytest.raises(ContractError, match="112"):
        _seeded()(torch.rand(1, 3, 112, 96))


def test_sizes_that_the_network_cannot_have_are_refused() -> None:
    with pytest.raises(CheckpointError, match="divisible by 16"):
        MobileFaceNetConfig(rows=100)


@pytest.mark.parametrize("size", [128, 256, 512])
@pytest.mark.parametrize("template", [ARCFACE, SPHEREFACE, DLIB], ids=lambda template: template.name)
def test_resampling_agrees_with_the_aligner(size: int, template: Template) -> None:
    face = _astronaut(size)
    matrix = fit_similarity(FFHQ.scaled(size), template.scaled(template.width))
    # The aligner enlarges bicubically, we bilinearly: enlarge the same way to compare the geometry alone.
    expected = (
        align_face(face, matrix, template.width, template.height)
        if size > 128
        else cv2.warpAffine(face, matrix, (template.width, template.height), borderMode=cv2.BORDER_REPLICATE)
    )
    crop = faces_to_identity_crops(_tensor(face), template)[0].permute(1, 2, 0).numpy() * 255
    # OpenCV rounds to uint8 and interpolates in steps of 1/32 px; a shift of a quarter pixel gives more than 2.
    assert np.abs(crop - expected.astype(np.float64)).mean() < 0.6


def test_shrinking_does_not_alias() -> None:
    rows, columns = np.indices((512, 512))
    checkerboard = torch.from_numpy(((rows + columns) % 2).astype(np.float32)).expand(1, 3, 512, 512)
    # A 3.6-fold reduction must show grey; plain bilinear sampling leaves a spread of 0.17, ours 0.007.
    assert faces_to_identity_crops(checkerboard).std() < 0.06


def test_gradients_reach_the_face() -> None:
    faces = torch.rand(1, 3, 64, 64, requires_grad=True)
    faces_to_identity_crops(faces).square().sum().backward()
    assert faces.grad is not None
    assert (faces.grad[:, :, 20:44, 20:44] != 0).all()


def test_faces_that_are_not_square_are_refused() -> None:
    with pytest.raises(ContractError, match="square faces"):
        faces_to_identity_crops(torch.rand(1, 3, 64, 96))
