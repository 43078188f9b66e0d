from __future__ import annotations

import io
import struct
import zlib
from typing import TypeAlias

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin, TiffTags

from pocketface.runtime.decode import decode
from pocketface.runtime.errors import ImageError
from pocketface.runtime.exif import orientation_of

SHAPE = (20, 28, 3)


Depth: TypeAlias = "type[np.uint8] | type[np.uint16]"


def noise(depth: Depth = np.uint8) -> NDArray[np.uint8 | np.uint16]:
    return np.random.default_rng(0).integers(0, np.iinfo(depth).max, SHAPE, depth, endpoint=True)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)  # pyright: ignore[reportArgumentType] - Pillow's options have many types
    return stream.getvalue()


def by_opencv(pixels: NDArray[np.uint8 | np.uint16], suffix: str) -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def tiff(pixels: NDArray[np.uint8 | np.uint16], **tags: int) -> bytes:
    """An uncompressed TIFF with tags that Pillow would not write."""
    height, width, channels = pixels.shape
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    directory.tagtype[273] = TiffTags.LONG
    layout = {256: width, 257: height, 258: (pixels.itemsize * 8,) * channels, 259: 1, 273: (0,), 277: channels}
    layout |= {262: 1 if channels == 1 else 2, 278: height, 279: (pixels.nbytes,)}
    for tag, value in (layout | {int(tag[1:]): value for tag, value in tags.items()}).items():
        directory[tag] = value
    stream = io.BytesIO()
    directory.save(stream)
    return stream.getvalue() + pixels.tobytes()


PICTURE = Image.fromarray(noise())
WHOLE = {
    "jpeg": saved(PICTURE, "JPEG"),
    "progressive jpeg": saved(PICTURE, "JPEG", progressive=True),
    "grey jpeg": saved(PICTURE.convert("L"), "JPEG"),
    "cmyk jpeg": saved(PICTURE.convert("CMYK"), "JPEG"),
    "png": saved(PICTURE, "PNG"),
    "deep png": by_opencv(noise(np.uint16), ".png"),
    "tiff": saved(PICTURE, "TIFF", compression="tiff_lzw"),
    "deep tiff": by_opencv(noise(np.uint16), ".tif"),
    "webp": saved(PICTURE, "WEBP"),
    "bmp": saved(PICTURE, "BMP"),
}


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "deep png", "deep tiff"])
def test_lossless_formats_give_the_very_pixels(kind: str) -> None:
    depth = np.uint16 if "deep" in kind else np.uint8
    np.testing.assert_array_equal(decode(WHOLE[kind], "x").pixels, noise(depth))


@pytest.mark.parametrize("kind", WHOLE)
def test_the_first_half_of_a_file_is_refused(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError):
        decode(WHOLE[kind][: len(WHOLE[kind]) // 2], "x")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg"])
def test_a_jpeg_without_its_end_is_refused_although_opencv_reads_it(kind: str) -> None:
    cut = WHOLE[kind][:-20]
    with pytest.raises(ImageError, match="truncated"):
        decode(cut, "x")


def test_a_thumbnail_is_not_taken_for_the_end_of_a_jpeg() -> None:
    thumbnail = saved(PICTURE.resize((8, 8)), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = WHOLE["jpeg"][:2] + segment + WHOLE["jpeg"][2:]
    np.testing.assert_array_equal(decode(whole, "x").pixels, decode(WHOLE["jpeg"], "x").pixels)
    with pytest.raises(ImageError, match="truncated"):
        decode(whole[:-40], "x")


def test_what_follows_a_jpeg_does_not_matter() -> None:
    np.testing.assert_array_equal(decode(WHOLE["jpeg"] + b"a film" * 9, "x").pixels, decode(WHOLE["jpeg"], "x").pixels)


@pytest.mark.parametrize("kind", ["png", "deep png", "deep tiff"])
def test_a_flipped_byte_in_compressed_pixels_is_noticed(kind: str) -> None:
    damaged = bytearray(WHOLE[kind])
    damaged[len(damaged) // 2] ^= 0xFF
    with pytest.raises(ImageError):
        decode(bytes(damaged), "x")


@pytest.mark.parametrize("content", [b"", b"Roses are red, violets are blue", b"%PDF-1.4 ...", b"\xff\xd8\xff"])
def test_what_is_no_image_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(ImageError, match="poem") as caught:
        decode(content, "poem.jpg")
    assert "\n" not in str(caught.value)


def test_an_animation_is_refused() -> None:
    content = saved(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(90), PICTURE.rotate(180)])
    with pytest.raises(ImageError, match="3 pictures"):
        decode(content, "x")


def test_a_camera_file_with_a_second_picture_is_a_photograph() -> None:
    content = saved(PICTURE, "MPO", save_all=True, append_images=[PICTURE.rotate(90)])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    np.testing.assert_array_equal(decode(content, "x").pixels.shape, SHAPE)


@pytest.mark.parametrize(
    ("mode", "options", "channels"),
    [
        ("L", {}, 1),
        ("1", {}, 1),
        ("LA", {}, 2),
        ("L", {"transparency": 3}, 2),
        ("P", {}, 3),
        ("P", {"transparency": 3}, 4),
        ("RGB", {"transparency": (1, 2, 3)}, 4),
        ("RGBA", {}, 4),
    ],
)
def test_channels_follow_from_what_the_file_means(mode: str, options: dict[str, object], channels: int) -> None:
    raster = decode(saved(PICTURE.convert(mode), "PNG", **options), "x")
    assert raster.pixels.shape == (*SHAPE[:2], channels)
    assert raster.pixels.dtype == np.uint8


def test_a_palette_gives_its_colours() -> None:
    palette = PICTURE.convert("P")
    np.testing.assert_array_equal(decode(saved(palette, "GIF"), "x").pixels, np.asarray(palette.convert("RGB")))


def test_cmyk_without_profile_is_read_by_subtraction() -> None:
    colours = np.zeros((20, 20, 3), np.uint8)
    colours[:10] = (200, 30, 90)
    pixels = decode(saved(Image.fromarray(colours).convert("CMYK"), "TIFF"), "x").pixels
    np.testing.assert_array_equal(pixels, colours)


def test_a_damaged_profile_of_a_cmyk_file_is_an_error() -> None:
    content = saved(PICTURE.convert("CMYK"), "TIFF", icc_profile=b"nonsense")
    with pytest.raises(ImageError, match="profile"):
        decode(content, "x")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_other_samples_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match="8 or 16 bits"):
        decode(saved(PICTURE.convert("L").convert(mode), "TIFF"), "x")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_tiff_with_white_as_zero_is_turned_round(depth: Depth) -> None:
    grey = noise(depth)[:, :, :1].copy()
    np.testing.assert_array_equal(decode(tiff(grey), "x").pixels, grey)
    np.testing.assert_array_equal(decode(tiff(grey, t262=0), "x").pixels, np.iinfo(depth).max - grey)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_an_oriented_tiff_is_turned_once(depth: Depth) -> None:
    raster = decode(tiff(noise(depth), t274=6), "x")
    np.testing.assert_array_equal(raster.pixels, np.rot90(noise(depth), 3))
    assert orientation_of(raster.exif) == 1


def test_an_oriented_deep_png_is_left_to_be_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    raster = decode(WHOLE["deep png"][:33] + chunk + WHOLE["deep png"][33:], "x")
    np.testing.assert_array_equal(raster.pixels, noise(np.uint16))
    assert orientation_of(raster.exif) == 6


def test_profile_and_resolution_are_found() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    raster = decode(saved(PICTURE, "JPEG", icc_profile=profile, dpi=(240, 240)), "x")
    assert raster.icc == profile
    assert raster.dpi == (240, 240)
