"""Published networks with random weights, saved as their authors save them, against the network run by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketface.runtime.backends import open_restorer
from pocketface.runtime.backends.pytorch import PytorchRestorer
from pocketface.runtime.errors import BackendError, CheckpointError, ContractError
from pocketface.runtime.models.zoo import KINDS, PublicRestorer, load_public

pytestmark = pytest.mark.teachers


def _architecture(module: str, name: str) -> Any:
    """A class of spandrel's or its companion's; where they are not installed, all tests here are skipped."""
    return getattr(pytest.importorskip(module, reason="spandrel is not installed: make test-teachers"), name)


Compact = _architecture("spandrel.architectures.Compact", "Compact")
ESRGAN = _architecture("spandrel.architectures.ESRGAN", "ESRGAN")
GFPGAN = _architecture("spandrel.architectures.GFPGAN", "GFPGAN")
NAFNet = _architecture("spandrel.architectures.NAFNet", "NAFNet")
RestoreFormer = _architecture("spandrel.architectures.RestoreFormer", "RestoreFormer")
CodeFormer = _architecture("spandrel_extra_arches.architectures.CodeFormer", "CodeFormer")

# The same operations in the same order on the same machine; layouts and batches of one move the last bits.
FLOAT32_NOISE = 2e-5
# Mean error of every mistake in range that these tests shall see; the right range is at FLOAT32_NOISE.
MISTAKE = 0.02
SMALL_FORMER: dict[str, Any] = {
    "ch": 32,
    "ch_mult": (1, 1, 1, 1, 1, 2),
    "z_channels": 32,
    "embed_dim": 32,
    "n_embed": 64,
}


def _faces(count: int, size: int) -> Tensor:
    """Smooth seeded pictures in [0, 1]."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, (size, size), mode="bicubic").clamp(0, 1)


def _lively(network: Any, seed: int = 0) -> Any:
    """Random weights under which nothing is zero that training would have moved."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.numel() == 1:  # the strengths of GFPGAN's noise, which begin at 0
            nn.init.constant_(parameter, 0.1)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.05)
    return network.eval().requires_grad_(requires_grad=False)


def _save(path: Path, state: dict[str, Tensor], wrapping: str) -> Path:
    torch.save({wrapping: state}, path)
    return path


def _published_esrgan(state: dict[str, Tensor], blocks: int, scale: int) -> dict[str, Tensor]:
    """Names as Real-ESRGAN publishes them, from those of the older code that spandrel carries."""
    ups = {4: ("3", "6"), 2: ("3",), 1: ()}[scale]
    last = 3 * len(ups)
    plain = {"model.0": "conv_first", f"model.1.sub.{blocks}": "conv_body"}
    plain |= {f"model.{place}": f"conv_up{number}" for number, place in enumerate(ups, 1)}
    plain |= {f"model.{last + 2}": "conv_hr", f"model.{last + 4}": "conv_last"}
    published = {}
    for key, value in state.items():
        stem, kind = key.rsplit(".", 1)
        inner = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0", stem)
        name = f"body.{inner[1]}.rdb{inner[2]}.conv{inner[3]}" if inner else plain[stem]
        published[f"{name}.{kind}"] = value
    return published


def _centred(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda faces: ((run(faces * 2 - 1) + 1) / 2).clamp(0, 1)


def _compare(path: Path, direct: Callable[[Tensor], Tensor], faces: Tensor) -> tuple[Tensor, list[dict[str, Any]]]:
    """Restore through the door and hold it against the direct run.

    Returns:
        the direct run's faces, and the settings with which the door ran the network.
    """
    with torch.no_grad():
        expected = direct(faces)
    model, facts = load_public(path)
    given: list[tuple[float, dict[str, Any]]] = []
    model.network.register_forward_pre_hook(
        lambda _, inputs, settings: given.append((float(inputs[0].min()), settings)), with_kwargs=True
    )
    layout = None if facts.size is None else torch.contiguous_format
    restored = PytorchRestorer(model, facts.name, facts.sha256, size=facts.size, layout=layout)(faces.numpy())
    np.testing.assert_allclose(restored, expected.numpy(), atol=FLOAT32_NOISE, rtol=0)
    if KINDS[facts.architecture].centred:
        assert given[0][0] < -0.5
    else:
        assert given[0][0] >= 0
    return expected, [settings for _, settings in given]


@pytest.fixture
def big(tmp_path: Path) -> Iterator[Path]:
    """A place for a file of 350 MB, which pytest would keep for days."""
    path = tmp_path / "big.pth"
    yield path
    path.unlink(missing_ok=True)


def test_gfpgan_takes_its_own_range_and_its_stored_noise(big: Path) -> None:
    network = _lively(GFPGAN())
    _save(big, network.state_dict(), "params_ema")
    kept: list[Tensor] = []

    def direct(faces: Tensor) -> Tensor:
        kept.append(network(faces, randomize_noise=False)[0])
        return kept[0]

    expected, settings = _compare(big, _centred(direct), _faces(1, 512))
    assert settings[0]["randomize_noise"] is False
    assert float((kept[0].clamp(0, 1) - expected).abs().mean()) > MISTAKE, "the range makes no difference here"
    info = open_restorer(big, device="cpu").info
    assert (info.size, info.native_size, info.name, info.engine) == (512, 512, "big", "pytorch")


def test_codeformer_takes_its_own_range(big: Path) -> None:
    network = _lively(CodeFormer(n_layers=2, codebook_size=64))
    _save(big, network.state_dict(), "params_ema")
    expected, _ = _compare(big, _centred(lambda x: network(x, weight=0.5)[0]), _faces(1, 512))
    assert float(expected.std()) > MISTAKE, "a constant picture would hide every mistake"


def test_restoreformer_as_its_authors_save_their_training(tmp_path: Path) -> None:
    network = _lively(RestoreFormer(**SMALL_FORMER))
    state = {f"vqvae.{key}": value for key, value in network.state_dict().items()}
    state["loss.discriminator.weight"] = torch.zeros(3)
    path = _save(tmp_path / "RestoreFormer.ckpt", state, "state_dict")
    expected, _ = _compare(path, _centred(lambda x: network(x)[0]), _faces(1, 512))
    assert float(expected.std()) > MISTAKE
    plain, _ = load_public(_save(tmp_path / "RestoreFormer.pth", network.state_dict(), "params"))
    for key, value in network.state_dict().items():
        assert torch.equal(plain.network.state_dict()[key], value), key


def _plus(settings: dict[str, Any]) -> Any:
    """RestoreFormer++ by its authors' configuration: 4 heads, the decoder attends at 16 and 32."""
    wide = RestoreFormer(**settings, head_size=4, attn_resolutions=(16, 32))
    network = RestoreFormer(**settings, head_size=4)
    network.decoder = wide.decoder
    return network


def test_restoreformer_plus_attends_at_two_scales(tmp_path: Path) -> None:
    network = _lively(_plus(SMALL_FORMER))
    state = {f"vqvae.{key}": value for key, value in network.state_dict().items()}
    path = _save(tmp_path / "RestoreFormer++.ckpt", state, "state_dict")

    def direct(faces: Tensor) -> Tensor:
        quantised, _, _, features = network.encode(faces)
        return network.decode(quantised, features | {"block_4_atten": features["block_4"]})

    expected, _ = _compare(path, _centred(direct), _faces(1, 512))
    assert load_public(path)[1].architecture == "RestoreFormer++"
    assert float(expected.std()) > MISTAKE


def test_restoreformer_plus_has_as_many_parameters_as_its_authors_count() -> None:
    with torch.device("meta"):
        assert sum(one.numel() for one in _plus({}).parameters()) == pytest.approx(73.5e6, abs=5e4)


@pytest.mark.parametrize("scale", [4, 2, 1])
def test_compact_enlarges_and_is_averaged_back(tmp_path: Path, scale: int) -> None:
    network = _lively(Compact(num_feat=16, num_conv=3, upscale=scale))
    path = _save(tmp_path / "realesr.pth", network.state_dict(), "params")
    faces = _faces(3, 40)
    expected, _ = _compare(path, lambda x: F.avg_pool2d(network(x).clamp(0, 1), scale), faces)
    assert expected.shape == faces.shape
    assert load_public(path)[1].scale == scale


@pytest.mark.parametrize(("scale", "shuffle"), [(4, None), (2, 2)])
def test_rrdb_under_the_names_that_real_esrgan_publishes(tmp_path: Path, scale: int, shuffle: int | None) -> None:
    inner = scale * (shuffle or 1)
    channels = 3 * (shuffle or 1) ** 2
    network = _lively(ESRGAN(in_nc=channels, num_filters=16, num_blocks=2, scale=inner, shuffle_factor=shuffle))
    path = _save(tmp_path / "RealESRGAN.pth", _published_esrgan(network.state_dict(), 2, inner), "params_ema")
    expected, _ = _compare(path, lambda x: F.avg_pool2d(network(x).clamp(0, 1), scale), _faces(2, 48))
    assert expected.shape == (2, 3, 48, 48)
    restorer = open_restorer(path, device="cpu")
    assert restorer.info.multiple == (4 if shuffle else 1)
    if shuffle:
        with pytest.raises(ContractError, match="divisible by 4"):
            restorer(_faces(1, 42).numpy())


def test_half_precision_weights_are_run_in_single(tmp_path: Path) -> None:
    network = _lively(Compact(num_feat=16, num_conv=3, upscale=2)).half()
    path = _save(tmp_path / "half.pth", network.state_dict(), "params")
    _compare(path, lambda x: F.avg_pool2d(network.float()(x).clamp(0, 1), 2), _faces(1, 32))


def test_a_face_network_takes_its_own_size_only(tmp_path: Path) -> None:
    path = _save(tmp_path / "former.pth", RestoreFormer(**SMALL_FORMER).state_dict(), "params")
    with pytest.raises(ContractError, match="512 x 512"):
        open_restorer(path, device="cpu")(_faces(1, 256).numpy())


def test_what_is_loaded_is_frozen_and_never_trains(tmp_path: Path) -> None:
    path = _save(tmp_path / "small.pth", Compact(num_feat=8, num_conv=2, upscale=2).state_dict(), "params")
    model, facts = load_public(path)
    around = nn.Sequential(model).train()
    assert around.training
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert isinstance(model, PublicRestorer)
    assert (facts.name, facts.architecture, facts.size, facts.native_size) == ("small", "Compact", None, 256)
    assert len(facts.sha256) == 64


class _Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, suffix: str, legacy: bool) -> None:
    path, mark = tmp_path / f"hostile{suffix}", tmp_path / "was_run"
    content = {"params": Compact(num_feat=8, num_conv=2).state_dict(), "more": _Hostile(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="tensors"):
        open_restorer(path, device="cpu")
    assert not mark.exists()
    torch.load(path, weights_only=False)  # what would have happened
    assert mark.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_a_torchscript_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4)), path)
    with pytest.raises(CheckpointError, match=r"script\.pt"):
        open_restorer(path, device="cpu")


@pytest.mark.parametrize("content", [{}, {"a": 1}, [1, 2], torch.zeros(3), {"params": {"conv.weight": torch.zeros(2)}}])
def test_files_of_something_else_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError):
        open_restorer(path, device="cpu")


@pytest.mark.parametrize("change", ["truncated", "garbage", "missing key", "wrong shape"])
def test_damaged_files_are_refused(tmp_path: Path, change: str) -> None:
    state = Compact(num_feat=8, num_conv=2, upscale=4).state_dict()
    if change == "missing key":
        del state["body.2.bias"]
    if change == "wrong shape":
        state["body.2.weight"] = torch.zeros(8, 7, 3, 3)
    path = _save(tmp_path / "damaged.pth", state, "params")
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-300])
    if change == "garbage":
        path.write_bytes(b"\x80\x02garbage" * 50)
    with pytest.raises(CheckpointError, match=r"damaged\.pth"):
        open_restorer(path, device="cpu")


def test_a_network_whose_range_nobody_looked_at_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "nafnet.pth", NAFNet(width=8, enc_blk_nums=[1], dec_blk_nums=[1]).state_dict(), "params")
    with pytest.raises(BackendError, match="NAFNet"):
        open_restorer(path, device="cpu")
