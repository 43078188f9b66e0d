"""RetinaFace: whose weights it takes, and where it puts boxes and landmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.faces.detect import open_detector
from pocketface.runtime.faces.retinaface import RetinaFaceDetector
from pocketface.runtime.models.retinaface import RetinaFace, load_retinaface

SIDE = 64
# Map after map, two squares a place, of the picture of SIDE pixels.
PRIORS = 2 * (8 * 8 + 4 * 4 + 2 * 2)


def random_network() -> RetinaFace:
    torch.manual_seed(0)
    return RetinaFace().eval()


def save(network: nn.Module, path: Path, prefix: str = "") -> Path:
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, path)
    return path


def certain_network(prior: int) -> RetinaFace:
    """Says, whatever it sees, that the prior's own square is a face with all landmarks at its centre."""
    network = RetinaFace().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        # Faces of the finest map's squares of kind `prior`; nowhere else.
        for index, head in enumerate(network.ClassHead):
            bias = head.get_submodule("conv1x1").bias
            assert isinstance(bias, torch.Tensor)
            bias[:] = torch.tensor([4.0, -4.0, 4.0, -4.0])
            if index == prior // 2:
                bias[2 * (prior % 2) : 2 * (prior % 2) + 2] = torch.tensor([-4.0, 4.0])
    return network


@pytest.mark.parametrize("size", [(SIDE, SIDE), (57, 63)])
def test_every_map_answers_for_two_squares_a_place(size: tuple[int, int]) -> None:
    with torch.no_grad():
        boxes, faces, landmarks = random_network()(torch.zeros(1, 3, *size))
    assert boxes.shape == (1, PRIORS, 4)
    assert faces.shape == (1, PRIORS, 2)
    assert landmarks.shape == (1, PRIORS, 10)


@pytest.mark.parametrize(("prior", "step", "side"), [(0, 8, 16), (1, 8, 32), (2, 16, 64), (5, 32, 512)])
def test_a_square_lies_about_its_place_of_the_map(tmp_path: Path, prior: int, step: int, side: int) -> None:
    path = save(certain_network(prior), tmp_path / "certain.pth")
    found = RetinaFaceDetector(path)(np.zeros((SIDE, SIDE, 3), np.uint8))
    # All answers are equally sure, so that the first place of the map wins; pixel centres, hence the half.
    centre = step / 2 - 0.5
    assert found[0].box == pytest.approx((centre - side / 2, centre - side / 2, centre + side / 2, centre + side / 2))
    assert found[0].landmarks == pytest.approx(np.full((5, 2), centre))
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-6)


def test_weights_come_back_with_or_without_the_prefix_of_several_gpus(tmp_path: Path) -> None:
    network = random_network()
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = network(image)
        for prefix in ("", "module."):
            loaded = load_retinaface(save(network, tmp_path / "weights.pth", prefix))
            for ours, theirs in zip(loaded(image), expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = save(nn.Linear(2, 2), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="another network"):
        open_detector(path)


def test_a_tensor_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "tensor.pth"
    torch.save(torch.zeros(3), path)
    with pytest.raises(CheckpointError, match=r"dictionary of weights, got Tensor in .*tensor\.pth"):
        open_detector(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint of tensors alone, got .*damaged\.pth"):
        open_detector(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save({"weights": subprocess.Popen}, path)
    with pytest.raises(CheckpointError, match=r"checkpoint of tensors alone, got .*code\.pth"):
        open_detector(path)


def test_without_torch_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pocketface.runtime.errors import BackendError\n"
        "try:\n    import pocketface.runtime.faces.retinaface\n"
        "except BackendError as error:\n    print(error.fix)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.strip() == "run: pip install 'pocketface[torch]'"
