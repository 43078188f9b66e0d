"""Enlarging by published super-resolution networks, random weights, through the command, against them run by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from skimage.data import astronaut
from torch import nn

from pocketface.runtime import cli
from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.images import Photo, read_photo, to_float, to_pixels, write_photo
from pocketface.runtime.upscale import open_enlarger, upscale_photo

pytestmark = pytest.mark.teachers
spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed: make test-teachers")

OVERLAP = 16  # of the tiles, mirrored at the photograph's edge


def compact(scale: int) -> Any:
    """SRVGGNetCompact, 6 pixels of sight to each side: tiles that overlap by 16 show no seam."""
    return _seeded(spandrel.architectures.Compact.Compact(num_feat=16, num_conv=4, upscale=scale))


def rrdb(scale: int) -> Any:
    """ESRGAN's network; as Real-ESRGAN's x2 it looks at blocks of 2 x 2 pixels."""
    inside: dict[str, Any] = {2: {"in_nc": 12, "shuffle_factor": 2}, 4: {}}[scale]
    return _seeded(spandrel.architectures.ESRGAN.ESRGAN(num_filters=8, num_blocks=1, scale=4, **inside))


def _seeded(network: Any) -> Any:
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3 / parameter[0].numel() ** 0.5)
    return network.eval().requires_grad_(requires_grad=False)


def by_hand(network: Any, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The whole photograph at once, mirrored beyond its edges as tiles are."""
    wide = np.pad(rgb, ((OVERLAP, OVERLAP), (OVERLAP, OVERLAP), (0, 0)), mode="reflect")
    found = network(torch.from_numpy(to_float(wide).transpose(2, 0, 1).copy())[None])[0].clamp(0, 1)
    scale = found.shape[1] // wide.shape[0]
    return found.numpy().transpose(1, 2, 0)[OVERLAP * scale : -OVERLAP * scale, OVERLAP * scale : -OVERLAP * scale]


@pytest.mark.parametrize(
    ("make", "scale", "wrapping"),
    [(compact, 2, "params"), (compact, 4, ""), (rrdb, 2, "params_ema"), (rrdb, 4, "params")],
)
def test_a_portrait_is_enlarged_by_the_network_and_its_face_restored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[int], Any], scale: int, wrapping: str
) -> None:
    network, file = make(scale), tmp_path / "network.pth"
    state = network.state_dict()
    torch.save({wrapping: state} if wrapping else state, file)
    small, output = tmp_path / "small.png", tmp_path / "large.png"
    write_photo(Photo(np.ascontiguousarray(astronaut()[:220, 130:330])), small)
    words = [str(small), "-o", str(output), "--upscale", str(scale), "--upscaler", str(file), "--threads", "1"]
    assert cli.main(["restore", *words, "--device", "cpu"]) == 0
    assert "1 face restored" in capsys.readouterr().out
    given, enlarged = read_photo(small).rgb, read_photo(output).rgb
    expected = to_pixels(by_hand(network, given.astype(np.uint8)), np.dtype(np.uint8))
    assert enlarged.shape == expected.shape == (220 * scale, 200 * scale, 3)
    change = np.abs(enlarged.astype(int) - expected)
    # The same arithmetic, but for the order of sums: it can move a value over the edge of a level.
    assert change[210 * scale :].max() <= 1
    assert change[80 * scale : 150 * scale, 60 * scale : 130 * scale].mean() > 0.5  # the face


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
def test_a_network_of_another_factor_and_other_suffixes_are_taken(tmp_path: Path, suffix: str) -> None:
    network, file = compact(2), tmp_path / f"network{suffix}"
    save_file(network.state_dict(), file) if suffix == ".safetensors" else torch.save(network.state_dict(), file)
    # Larger than one tile, and no multiple of it.
    given = Photo(np.ascontiguousarray(astronaut()[:270, :300]))
    doubled = upscale_photo(given, 2, open_enlarger(file, device="cpu", threads=1))
    seams = np.abs(doubled.rgb.astype(int) - to_pixels(by_hand(network, astronaut()[:270, :300]), np.dtype(np.uint8)))
    assert seams.max() <= 1
    assert upscale_photo(given, 4, open_enlarger(file, device="cpu")).rgb.shape == (1080, 1200, 3)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    network, file = compact(2).half(), tmp_path / "half.pth"
    torch.save({"params": network.state_dict()}, file)
    given = np.ascontiguousarray(astronaut()[:64, :64])
    found = upscale_photo(Photo(given), 2, open_enlarger(file, device="cpu")).rgb
    expected = to_pixels(by_hand(network.float(), given), np.dtype(np.uint8))
    assert np.abs(found.astype(int) - expected).max() <= 1


class _Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    path, mark = tmp_path / f"hostile{suffix}", tmp_path / "was_run"
    torch.save({"params": compact(2).state_dict(), "more": _Hostile(mark)}, path)
    with pytest.raises(CheckpointError, match="tensors"):
        open_enlarger(path, device="cpu")
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_a_torchscript_file_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4)), path)
    with pytest.raises(CheckpointError, match=r"script\.pt"):
        open_enlarger(path, device="cpu")


def test_networks_of_another_purpose_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    nafnet = spandrel.architectures.NAFNet.NAFNet(width=8, enc_blk_nums=[1], dec_blk_nums=[1])
    for name, state, said in (
        ("nafnet.pth", nafnet.state_dict(), "Restoration"),
        ("grey.pth", _seeded(spandrel.architectures.Compact.Compact(num_in_ch=1, num_out_ch=1)).state_dict(), "1 -> 1"),
        ("other.pth", {"weight": torch.zeros(2)}, "spandrel knows"),
    ):
        torch.save(state, tmp_path / name)
        with pytest.raises(CheckpointError, match=said):
            open_enlarger(tmp_path / name, device="cpu")
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 50)
    with pytest.raises(CheckpointError, match="whole safetensors"):
        open_enlarger(tmp_path / "junk.safetensors", device="cpu")
