"""insightface's IResNet: layout, arithmetic, and files that are something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pocketface.runtime.errors import CheckpointError, ContractError
from pocketface.runtime.models.identity import MobileFaceNet
from pocketface.runtime.models.iresnet import DEPTHS, IResNet, IResNetConfig, load_iresnet

TINY = IResNetConfig((1, 2, 1, 1), 16)


def _seeded(config: IResNetConfig = TINY) -> IResNet:
    """A network whose every tensor is drawn, so that no bias or mean is 0 and no gain 1."""
    torch.manual_seed(0)
    network = IResNet(config).eval()
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.rand_like(value) + 0.5 if name.endswith("running_var") else torch.randn_like(value) * 0.05
            )
    return network


def _by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published forward pass, written from the names of the weights alone; not normalised."""

    def norm(name: str, y: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, variance, weight, bias, eps=1e-5)

    y = F.prelu(norm("bn1", F.conv2d((x - 0.5) / 0.5, state["conv1.weight"], padding=1)), state["prelu.weight"])
    for layer, count in enumerate(TINY.blocks, start=1):
        for block in range(count):
            at, stride = f"layer{layer}.{block}", 2 if block == 0 else 1
            z = F.conv2d(norm(f"{at}.bn1", y), state[f"{at}.conv1.weight"], padding=1)
            z = F.prelu(norm(f"{at}.bn2", z), state[f"{at}.prelu.weight"])
            z = norm(f"{at}.bn3", F.conv2d(z, state[f"{at}.conv2.weight"], stride=stride, padding=1))
            if block == 0:
                y = norm(f"{at}.downsample.1", F.conv2d(y, state[f"{at}.downsample.0.weight"], stride=2))
            y = y + z
    return norm("features", F.linear(norm("bn2", y).flatten(1), state["fc.weight"], state["fc.bias"]))


def test_the_forward_pass_is_the_published_one() -> None:
    network, x = _seeded(), torch.rand(2, 3, 112, 112)
    with torch.inference_mode():
        expected = F.normalize(_by_hand(network.state_dict(), x))
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("depth", "millions"), [(18, 24.03), (34, 34.14), (50, 43.59), (100, 65.16)])
def test_sizes_are_those_of_the_public_networks(depth: int, millions: float) -> None:
    with torch.device("meta"):
        network = IResNet(IResNetConfig(DEPTHS[depth]))
    # As arcface_torch's model cards count them.
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["fc.weight"] == (512, 512 * 7 * 7)
    assert shapes["layer3.0.downsample.0.weight"] == (256, 128, 1, 1)
    assert shapes["layer3.1.conv2.weight"] == (256, 256, 3, 3)
    assert shapes["layer2.0.bn1.running_mean"] == (64,)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict_backbone": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"backbone.{name}": value for name, value in state.items()}},
        lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
        lambda state: {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
    ],
    ids=["state dict", "training checkpoint", "lightning", "without counts", "float16"],
)
def test_public_files_load_and_their_depth_is_read(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], dict[str, object]]
) -> None:
    network, x = _seeded(), torch.rand(1, 3, 112, 112)
    torch.save(wrap(network.state_dict()), tmp_path / "backbone.pth")
    loaded = load_iresnet(tmp_path / "backbone.pth")
    assert loaded.config == TINY
    assert not loaded.training
    with torch.inference_mode():
        # float16 weights round to 11 bits.
        torch.testing.assert_close(loaded(x), network(x), rtol=0, atol=2e-3)


def _without(key: str) -> dict[str, Tensor]:
    return {name: value for name, value in _seeded().state_dict().items() if name != key}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1, 2], "dictionary"),
        ({}, "0 other entries"),
        ({1: torch.zeros(1)}, "1 other entries"),
        (MobileFaceNet().state_dict(), "IResNet"),
        ({"input_layer.0.weight": torch.zeros(1)}, "AdaFace.*as an ONNX file"),
        ({"net_state_dict": {}}, "Xiaoccer"),
        (_without("layer2.1.conv2.weight"), r"no layer2\.1\.conv2\.weight"),
        (_without("fc.weight"), "head"),
        (_seeded().state_dict() | {"se.weight": torch.zeros(1)}, r"unknown se\.weight"),
        (_seeded().state_dict() | {"layer5.0.bn1.bias": torch.zeros(1)}, "unknown layer5"),
        (_seeded().state_dict() | {"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"another shape: conv1\.weight"),
    ],
    ids=[
        "list", "empty", "numbers for names", "MobileFaceNet", "AdaFace", "Xiaoccer", "missing", "no head", "more",
        "fifth layer", "shape",
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: object, complaint: str) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=complaint):
        load_iresnet(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "content", [None, b"", b"no zip, no pickle", b"\x80\x04N."], ids=["none", "empty", "text", "N"]
)
def test_files_that_hold_no_weights_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.pth"):
        load_iresnet(path)


class _Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("touched"),))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": _Hostile()}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="tensors alone"):
        load_iresnet(tmp_path / "net.pth")
    assert not (tmp_path / "touched").exists()


def test_other_crops_are_refused() -> None:
    with pytest.raises(ContractError, match="112"):
        _seeded()(torch.rand(1, 3, 112, 96))
