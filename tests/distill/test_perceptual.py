from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pocketface.distill.perceptual import Vgg19Features, open_features
from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.identity import MobileFaceNet

# Output channels by position in torchvision's `vgg19().features`.
VGG19_CONVOLUTIONS = {
    0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 16: 256,
    19: 512, 21: 512, 23: 512, 25: 512, 28: 512, 30: 512, 32: 512, 34: 512,
}  # fmt: skip


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes it, with the classifier it also holds cut short, and zero weights but one."""
    state, source = {}, 3
    for position, channels in VGG19_CONVOLUTIONS.items():
        state[f"features.{position}.weight"] = torch.zeros(channels, source, 3, 3)
        state[f"features.{position}.bias"] = torch.zeros(channels)
        source = channels
    state["features.0.weight"][0, 0, 1, 1] = 1.0  # the first map is the normalised red channel
    state["features.2.weight"][0, 0, 1, 1] = 2.0
    state["classifier.6.bias"] = torch.zeros(1000)
    path = tmp_path_factory.mktemp("vgg") / "vgg19-made-here.pth"
    torch.save(state, path)
    return path


def test_vgg19_taps_stride_by_stride(vgg19: Path) -> None:
    features = open_features(f"vgg19={vgg19}")
    picture = torch.full((1, 3, 32, 32), 0.714)
    found = features(picture)
    assert [tuple(layer.shape) for layer in found] == [
        (1, 64, 32, 32), (1, 128, 16, 16), (1, 256, 8, 8), (1, 512, 4, 4), (1, 512, 2, 2),
    ]  # fmt: skip
    # conv1_2 before its activation: twice the normalised red, (0.714 - 0.485) / 0.229 = 1
    assert found[0][0, 0, 16, 16].item() == pytest.approx(2.0, abs=1e-5)


def test_vgg19_agrees_with_torchvision(vgg19: Path) -> None:
    torchvision = pytest.importorskip("torchvision", reason="no torchvision fits the pinned CPU build of torch")
    theirs = torchvision.models.vgg19(weights=None).features.eval()
    state = {f"features.{name}": value for name, value in theirs.state_dict().items()}
    path = vgg19.with_name("seeded.pth")
    torch.save(state, path)
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = (picture - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with torch.no_grad():
        found, expected = Vgg19Features(path)(picture)[-1], theirs[:35](wanted)
    assert torch.allclose(found, expected, atol=1e-5)  # the same operators on the same weights


def test_another_file_is_not_vgg19(vgg19: Path, tmp_path: Path) -> None:
    state = torch.load(vgg19, weights_only=True)
    del state["features.34.bias"]
    path = tmp_path / "cut.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"features\.34\.bias"):
        open_features(f"vgg19={path}")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="a whole PyTorch checkpoint"):
        open_features(f"vgg19={path}")


def test_the_identity_network_gives_features_of_any_crop(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "identity.safetensors"
    save_checkpoint(path, MobileFaceNet(), training={})
    features = open_features(str(path))
    crop = torch.rand(1, 3, 64, 64, requires_grad=True)
    found = features(crop)
    assert [layer.shape[2] for layer in found] == [32, 16, 8]
    sum(layer.square().mean() for layer in found).backward()  # pyright: ignore[reportAttributeAccessIssue] - a tensor
    assert crop.grad is not None
    assert crop.grad.abs().max() > 0
