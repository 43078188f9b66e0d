"""Makes an album as archives have them: mostly photographs, some of them damaged in every way that we know of.

    python -m pocketface.bench.damage PHOTOS -o album --count 2000 --damaged 0.1
`album.csv` beside the folder says of every file what it is and which statuses a batch may give it. Equal arguments give
equal files. Permissions say nothing to root: run the batch as somebody else to see them heeded.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import os
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..runtime.atomic import replacing_file
from ..runtime.batch.record import FAILED, IGNORED, NO_FACE, RESTORED, UNCHANGED
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError

_PHOTOS = (".jpg", ".jpeg", ".png")
_PLAIN, _LOCKED = "plain", "permission denied"
_FOLDERS = 20
_LONGEST, _SHORTEST = 320, 200  # sides of the album's photographs
# Any of these is right where a photograph can be read: what the networks make of it is not this module's question.
READ = frozenset({RESTORED, UNCHANGED, NO_FACE})
UNREADABLE, PASSED_OVER, PASSED_THROUGH = frozenset({FAILED}), frozenset({IGNORED}), frozenset({NO_FACE})

Make = Callable[[Path, Image.Image, np.random.Generator], None]


@dataclass(frozen=True)
class Kind:
    """A way in which a file can differ from a plain photograph.

    Args:
        suffix: of the file's name.
        expected: statuses that a batch may give it.
        make: writes it at a path from a photograph.
    """

    suffix: str
    expected: frozenset[str]
    make: Make


@dataclass(frozen=True)
class Made:
    """A file of the album.

    Args:
        name: below the album, with forward slashes.
        kind: of KINDS, or `plain`.
        expected: statuses that a batch may give it.
    """

    name: str
    kind: str
    expected: frozenset[str]


def make_album(photos: Path, album: Path, count: int, damaged: float, seed: int = 0) -> list[Made]:
    """Write an album.

    Args:
        photos: folder of photographs to make it from.
        album: folder to write; must not exist.
        count: files.
        damaged: share of them that are special, [0, 1]; each kind gets as many as any other.
        seed: of everything that is drawn.

    Raises:
        InputError: no photographs, or an album of that name.
    """
    sources = sorted(path for path in photos.rglob("*") if path.suffix.lower() in _PHOTOS)
    if not sources:
        raise InputError("a folder with photographs", f"none in {photos}")
    if album.exists():
        raise InputError("a free name for the album", f"something at {album}", "remove it first")
    rng = np.random.default_rng(seed)
    special = set(rng.permutation(count)[: round(count * damaged)].tolist())
    made, kinds = list[Made](), itertools.cycle(KINDS)
    for number in range(count):
        kind = next(kinds) if number in special else _PLAIN
        made.append(_make_one(album, sources[number % len(sources)], number, kind, rng))
    with replacing_file(album.with_suffix(".csv")) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("name", "kind", "expected"))
        rows.writerows((one.name, one.kind, "|".join(sorted(one.expected))) for one in made)
    return made


def read_album(album: Path) -> list[Made]:
    """What `make_album` wrote beside an album.

    Raises:
        InputError: nothing there.
    """
    path = album.with_suffix(".csv")
    if not path.is_file():
        raise InputError("an album with its list", f"nothing at {path}", "make one with pocketface.bench.damage")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [Made(row["name"], row["kind"], frozenset(row["expected"].split("|"))) for row in rows]


def _make_one(album: Path, source: Path, number: int, kind: str, rng: np.random.Generator) -> Made:
    with Image.open(source) as opened:
        photo = opened.convert("RGB")
    longest = int(rng.integers(_SHORTEST, _LONGEST + 1))
    photo.thumbnail((longest, longest))
    folder = f"box-{number % _FOLDERS:02d}"
    way = PLAIN[number % len(PLAIN)] if kind == _PLAIN else KINDS[kind]
    name = f"{folder}/{number:05d}-{kind.replace(' ', '-')}{way.suffix}"
    path = album / name
    path.parent.mkdir(parents=True, exist_ok=True)
    way.make(path, photo, rng)
    heedless = kind == _LOCKED and os.access(path, os.R_OK)  # root reads what nobody may
    return Made(name, kind, READ if heedless else way.expected)


def _saved(kind: str, mode: str = "RGB", **named: object) -> Make:
    return lambda path, photo, _: photo.convert(mode).save(path, kind, **named)


def _bytes(change: Callable[[bytes, np.random.Generator], bytes], kind: str = "JPEG") -> Make:
    def make(path: Path, photo: Image.Image, rng: np.random.Generator) -> None:
        stream = io.BytesIO()
        photo.save(stream, kind)
        path.write_bytes(change(stream.getvalue(), rng))

    return make


def _half(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: len(content) * int(rng.integers(20, 90)) // 100]


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Sixteen bytes of the second half changed: decoders show garbage or give up, as they like."""
    data = bytearray(content)
    for place in rng.integers(len(data) // 2, len(data) - 2, 16):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def _huge_jpeg(content: bytes, _: np.random.Generator) -> bytes:
    """A header that claims 65,500 x 65,500 pixels."""
    place = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return content[: place + 5] + struct.pack(">HH", 65500, 65500) + content[place + 9 :]


def _huge_png(content: bytes, _: np.random.Generator) -> bytes:
    """A header, with its checksum right, that claims 200,000 x 200,000 pixels."""
    header = b"IHDR" + struct.pack(">II", 200_000, 200_000) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def _deep(photo: Image.Image) -> NDArray[np.uint16]:
    return (np.asarray(photo)[:, :, ::-1].astype(np.uint16) * 257).astype(np.uint16)


def _write_deep(path: Path, photo: Image.Image, _: np.random.Generator) -> None:
    path.write_bytes(cv2.imencode(".png", _deep(photo))[1].tobytes())


def _write_floats(path: Path, photo: Image.Image, _: np.random.Generator) -> None:
    Image.fromarray(np.asarray(photo.convert("L"), np.float32) / 255).save(path, "TIFF")


def _write_noise(path: Path, photo: Image.Image, rng: np.random.Generator) -> None:
    """Two flat colours: a picture in which nobody could see a face."""
    pixels = np.empty((photo.height, photo.width, 3), np.uint8)
    pixels[: photo.height // 2], pixels[photo.height // 2 :] = rng.integers(0, 256, (2, 3))
    Image.fromarray(pixels).save(path, "JPEG")


def _write_animation(path: Path, photo: Image.Image, _: np.random.Generator) -> None:
    kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[path.suffix]
    grey = photo.convert("L")
    grey.save(path, kind, save_all=True, append_images=[grey.rotate(90), grey.rotate(180)])


def _write_locked(path: Path, photo: Image.Image, _: np.random.Generator) -> None:
    photo.save(path, "JPEG")
    path.chmod(0)


def _write_rotated(path: Path, photo: Image.Image, rng: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(2, 9))
    photo.save(path, "JPEG", exif=exif.tobytes())


def _write_alpha(path: Path, photo: Image.Image, rng: np.random.Generator) -> None:
    alpha = Image.fromarray(rng.integers(0, 256, (photo.height, photo.width), np.uint8))
    Image.merge("RGBA", (*photo.split(), alpha)).save(path, "PNG")


def _text(path: Path, *_: object) -> None:
    path.write_text("Dear all,\nplease find the photographs attached.\n", encoding="utf-8")


PLAIN = (
    *[Kind(".jpg", READ, _saved("JPEG", quality=quality)) for quality in (60, 75, 85, 92, 95)],
    Kind(".JPG", READ, _saved("JPEG", quality=80, progressive=True)),
    Kind(".png", READ, _saved("PNG")),
    Kind(".webp", READ, _saved("WEBP", quality=80)),
    Kind(".tif", READ, _saved("TIFF")),
)
KINDS: dict[str, Kind] = {
    "truncated": Kind(".jpg", UNREADABLE, _bytes(_half)),
    "truncated png": Kind(".png", UNREADABLE, _bytes(_half, "PNG")),
    "wrong suffix": Kind(".png", READ, _saved("JPEG")),
    "zero bytes": Kind(".jpg", UNREADABLE, lambda path, *_: path.touch()),
    "huge header": Kind(".jpg", UNREADABLE, _bytes(_huge_jpeg)),
    "huge header png": Kind(".png", UNREADABLE, _bytes(_huge_png, "PNG")),
    "no face": Kind(".jpg", PASSED_THROUGH, _write_noise),
    "16 bits": Kind(".png", READ, _write_deep),
    "16 bits for jpeg": Kind(".jpg", UNREADABLE, _write_deep),
    "cmyk": Kind(".jpg", READ, _saved("JPEG", "CMYK")),
    "animated gif": Kind(".gif", UNREADABLE, _write_animation),
    "animated webp": Kind(".webp", UNREADABLE, _write_animation),
    "animated png": Kind(".png", READ | UNREADABLE, _write_animation),
    _LOCKED: Kind(".jpg", UNREADABLE, _write_locked),
    "text as jpeg": Kind(".jpg", UNREADABLE, _text),
    "text": Kind(".txt", PASSED_OVER, _text),
    "link to itself": Kind(".jpg", UNREADABLE, lambda path, *_: path.symlink_to(path.name)),
    "link to nothing": Kind(".jpg", UNREADABLE, lambda path, *_: path.symlink_to("nothing.jpg")),
    "link upwards": Kind("", PASSED_OVER, lambda path, *_: path.symlink_to("..")),
    "pipe": Kind(".jpg", UNREADABLE, lambda path, *_: os.mkfifo(path)),
    "folder": Kind(".jpg", PASSED_OVER, lambda path, *_: path.mkdir()),
    "speck": Kind(".png", UNREADABLE, lambda path, photo, _: photo.resize((3, 2)).save(path, "PNG")),
    "flipped bytes": Kind(".jpg", READ | UNREADABLE, _bytes(_flipped)),
    "bytes behind the end": Kind(".jpg", READ, _bytes(lambda content, rng: content + rng.bytes(5000))),
    "palette": Kind(
        ".png", READ, lambda path, photo, _: photo.quantize(64, Image.Quantize.FASTOCTREE).save(path, "PNG")
    ),
    "alpha": Kind(".png", READ, _write_alpha),
    "alpha for jpeg": Kind(".jpg", UNREADABLE, _write_alpha),
    "on its side": Kind(".jpg", READ, _write_rotated),
    "grey": Kind(".jpg", READ, _saved("JPEG", "L")),
    "floats": Kind(".tif", UNREADABLE, _write_floats),
    "bitmap": Kind(".bmp", READ, _saved("BMP")),
    "heic": Kind(".heic", UNREADABLE, _bytes(lambda *_: b"\0\0\0\x18ftypheic" + bytes(900))),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("photos", type=Path, help="folder of photographs to make the album from")
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=positive, default=2000, help="files (default: 2000)")
    parser.add_argument("--damaged", type=float, default=0.1, help="share of special files (default: 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Write the album and say what is in it."""
    made = make_album(arguments.photos, arguments.output, arguments.count, arguments.damaged, arguments.seed)
    special = [one for one in made if one.kind != _PLAIN]
    kinds = len({one.kind for one in special})
    sys.stdout.write(f"{arguments.output}: {len(made)} files, {len(special)} of them special, in {kinds} ways\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.damage"))
