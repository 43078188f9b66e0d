from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.colouriser import colourise, open_colouriser
from pocketface.runtime.errors import BackendError, InputError, PocketFaceError
from pocketface.runtime.images import Metadata, Photo
from pocketface.runtime.upscale import Enlarger, open_enlarger, upscale_photo

DEPTHS = pytest.mark.parametrize("depth", [np.uint8, np.uint16])


def nearest(factor: int) -> Enlarger:
    """A network that repeats pixels, so that tiles must fit exactly."""

    def run(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        assert max(tile.shape[2:]) <= 256 + 32
        return tile.repeat(factor, axis=2).repeat(factor, axis=3)

    return run


def photo(depth: type = np.uint8, *, grey: bool = False) -> Photo:
    rgb = astronaut()[:290, :310].astype(depth) * (1 if depth is np.uint8 else 257)
    rgb = np.repeat(rgb[:, :, :1], 3, axis=2) if grey else rgb
    return Photo(rgb, rgb[:, :, 1].copy(), grey, Metadata(b"profile", b"exif", (72.0, 96.0)))


@DEPTHS
@pytest.mark.parametrize("factor", [2, 4])
def test_the_size_is_exact_and_prints_keep_theirs(depth: type, factor: int) -> None:
    enlarged = upscale_photo(photo(depth), factor)
    assert enlarged.rgb.shape == (290 * factor, 310 * factor, 3)
    assert enlarged.rgb.dtype == depth
    assert enlarged.alpha is not None
    assert enlarged.alpha.shape == (290 * factor, 310 * factor)
    assert enlarged.metadata.dpi == (72.0 * factor, 96.0 * factor)
    assert enlarged.metadata.icc == b"profile"
    back = cv2.resize(enlarged.rgb, (310, 290), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(back - photo(depth).rgb).mean() < 0.02 * np.iinfo(depth).max


def test_by_one_is_the_very_photograph() -> None:
    given = photo()
    assert upscale_photo(given, 1) is given


@DEPTHS
def test_a_network_works_by_tiles_without_seams(depth: type) -> None:
    enlarged = upscale_photo(photo(depth), 2, nearest(2))
    np.testing.assert_array_equal(enlarged.rgb, photo(depth).rgb.repeat(2, axis=0).repeat(2, axis=1))


def test_a_network_of_another_factor_is_resampled_and_grey_stays_grey() -> None:
    enlarged = upscale_photo(photo(), 2, nearest(4))
    np.testing.assert_array_equal(enlarged.rgb, photo().rgb.repeat(2, axis=0).repeat(2, axis=1))

    def tinting(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        return nearest(2)(tile) * np.array([1, 0.9, 0.8], np.float32)[None, :, None, None]

    grey = upscale_photo(photo(grey=True), 2, tinting)
    assert np.ptp(grey.rgb, axis=2).max() == 0


def test_what_is_no_enlarger_is_refused() -> None:
    with pytest.raises(BackendError, match="enlarges"):
        upscale_photo(photo(), 2, lambda tile: tile[:, :, ::2])
    with pytest.raises(InputError, match="megapixels"):
        upscale_photo(Photo(np.zeros((4000, 4000, 3), np.uint8)), 4)


@pytest.mark.parametrize("name", ["none.pth", "none.onnx", "x.exe"])
def test_an_enlarger_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        open_enlarger(tmp_path / name)


@pytest.mark.parametrize("name", ["junk.pth", "junk.onnx"])
def test_a_damaged_enlarger_is_refused_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"junk" * 50)
    with pytest.raises(PocketFaceError):
        open_enlarger(tmp_path / name, device="cpu")


def write_onnx(path: Path, levels: float) -> Path:
    """A network that gives red `levels`, the given green, and no blue."""
    onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
    helper, tensor = onnx.helper, onnx.TensorProto
    scale = helper.make_tensor("scale", tensor.FLOAT, [1, 3, 1, 1], [0.0, 1.0, 0.0])
    shift = helper.make_tensor("shift", tensor.FLOAT, [1, 3, 1, 1], [levels, 0.0, 0.0])
    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"]), helper.make_node("Add", ["y", "shift"], ["z"])]
    ends = [helper.make_tensor_value_info(name, tensor.FLOAT, [1, 3, "h", "w"]) for name in ("x", "z")]
    graph = helper.make_graph(nodes, "red", ends[:1], ends[1:], [scale, shift])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@DEPTHS
def test_a_colouriser_gives_colour_and_leaves_brightness(tmp_path: Path, depth: type) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    colouriser = open_colouriser(write_onnx(tmp_path / "red.onnx", 255.0), device="cpu", threads=1)
    grey = photo(depth, grey=True)
    coloured = colourise(grey, colouriser)
    assert not coloured.grey
    assert coloured.rgb.dtype == depth
    assert coloured.rgb.shape == grey.rgb.shape
    highest = np.iinfo(depth).max
    middling = (grey.rgb[:, :, 0] > 0.3 * highest) & (grey.rgb[:, :, 0] < 0.6 * highest)
    pixels = coloured.rgb[middling].astype(float) / highest
    assert (pixels[:, 0] > pixels[:, 2] + 0.2).mean() > 0.9
    luma = pixels @ [0.299, 0.587, 0.114]
    # Where red would leave the range it is clipped, which costs brightness.
    assert np.median(np.abs(luma - grey.rgb[middling][:, 0] / highest)) < 0.02


def test_a_photograph_with_colour_is_not_coloured() -> None:
    given = photo()
    assert colourise(given, lambda _: pytest.fail("asked although there is colour")) is given


def test_a_grey_profile_does_not_outlive_the_grey() -> None:
    grey = photo(grey=True)
    profile = bytes(16) + b"GRAY" + bytes(108)
    given = Photo(grey.rgb, None, grey=True, metadata=Metadata(profile))
    coloured = colourise(given, lambda small: np.zeros((*small.shape[:2], 3), np.float32))
    assert coloured.metadata.icc is None


@pytest.mark.parametrize("name", ["none.onnx", "x.txt"])
def test_a_colouriser_that_is_missing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        open_colouriser(tmp_path / name)
