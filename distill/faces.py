"""Data sets of aligned crops: made once from photographs, split by person, kept in memory as uint8.

`python -m pocketface.distill.faces --photos FOLDER --output CROPS` reads `FOLDER/manifest.csv`
(columns `file`, `group`, `identity`, `licence`, and `landmarks5` as ten numbers) and writes PNG crops and `crops.csv`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.atomic import replacing_file, replacing_folder
from ..runtime.cli import positive, run_module
from ..runtime.errors import ImageError, InputError
from ..runtime.faces.align import FFHQ, align_face, estimate_similarity, scale_of
from ..runtime.images import read_photo, to_uint8

Split = Literal["train", "validation"]
EIGHTHS = 8
CROPS_TABLE = "crops.csv"


@dataclass(frozen=True)
class Crop:
    """One row of `crops.csv`.

    Args:
        file: relative to the folder of the table.
        identity: who it is, as the manifest says.
        split: which side of the split that person is on.
        group: where the photograph comes from, as the manifest says.
        licence: as the manifest says.
        native_px: side of the crop in the photograph's own pixels; below the crop's side it was enlarged.
    """

    file: str
    identity: str
    split: Split
    group: str
    licence: str
    native_px: float


def split_of(identity: str, eighths: int = 1) -> Split:
    """Put a person on one side of the split, the same on every machine and for every set of photographs.

    Args:
        identity: any stable name of the person.
        eighths: the share of people to validate on, in eighths; a larger share contains the smaller ones.
    """
    digest = int(hashlib.sha256(identity.encode()).hexdigest(), 16)
    return "validation" if digest % EIGHTHS < eighths else "train"


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph of one annotated person, as a manifest has it.

    Args:
        file: beside the manifest.
        group: where it comes from.
        identity: who it is.
        licence: its terms.
        landmarks: (5, 2) float64, x y in pixels: eyes, nose tip, corners of the mouth, left before right as seen.
    """

    file: str
    group: str
    identity: str
    licence: str
    landmarks: NDArray[np.float64]


def read_photographs(folder: Path) -> list[Photograph]:
    """Read `FOLDER/manifest.csv`.

    Raises:
        InputError: no manifest, a column that it lacks, or landmarks that are not ten numbers.
    """
    rows = _read_table(folder / "manifest.csv", ("file", "group", "identity", "licence", "landmarks5"))
    return [
        Photograph(row["file"], row["group"], row["identity"], row["licence"], _landmarks(row, folder)) for row in rows
    ]


def _landmarks(row: dict[str, str], folder: Path) -> NDArray[np.float64]:
    try:
        return np.array([float(value) for value in row["landmarks5"].split()]).reshape(5, 2)
    except ValueError as error:
        found = f"'{row['landmarks5']}' for {row['file']} in {folder / 'manifest.csv'}"
        raise InputError("ten numbers as landmarks5", found) from error


def prepare_crops(
    photos: Path, output: Path, size: int, least_px: float, eighths: dict[str, int] | None = None
) -> list[Crop]:
    """Align every photograph of a manifest and write the crops as PNG with their table, as one folder.

    Args:
        photos: folder with `manifest.csv`.
        output: folder to write; replaced as a whole.
        size: side of the crops in pixels.
        least_px: crops with a smaller native side are left out: they would teach the blur of their own enlargement.
        eighths: share of people to validate on, in eighths, for groups where it is not 1.

    Raises:
        InputError: no manifest, or no usable row in it.
        ImageError: a photograph that cannot be read.
    """
    crops: list[Crop] = []
    with replacing_folder(output) as folder:
        for one in read_photographs(photos):
            matrix = estimate_similarity(one.landmarks, FFHQ, size)
            native = size / scale_of(matrix)
            if native < least_px:
                continue
            image = read_rgb(photos / one.file)
            split = split_of(one.identity, (eighths or {}).get(one.group, 1))
            name = f"{len(crops):05d}.png"
            crop = Crop(name, one.identity, split, one.group, one.licence, round(native, 1))
            cv2.imwrite(str(folder / crop.file), cv2.cvtColor(align_face(image, matrix, size), cv2.COLOR_RGB2BGR))
            crops.append(crop)
        if not crops:
            raise InputError(f"photographs with a face of at least {least_px:g} px in {photos}", "none")
        write_crops(folder, crops)
    return crops


def read_crops(folder: Path, split: Split | None = None) -> list[Crop]:
    """Read the table of a folder of crops, or one side of its split.

    Raises:
        InputError: no table, or no crop on that side.
    """
    columns = [field.name for field in fields(Crop)]
    crops = [
        Crop(
            row["file"],
            row["identity"],
            "train" if row["split"] == "train" else "validation",
            row["group"],
            row["licence"],
            float(row["native_px"]),
        )
        for row in _read_table(folder / CROPS_TABLE, columns)
    ]
    chosen = [crop for crop in crops if split in (None, crop.split)]
    if not chosen:
        raise InputError(f"crops of the split '{split}' in {folder}", f"none among {len(crops)}")
    return chosen


def load_crops(folder: Path, crops: Sequence[Crop]) -> NDArray[np.uint8]:
    """Decode crops once: (N, S, S, 3) uint8 RGB.

    Raises:
        ImageError: a crop that is missing, damaged or of another size than the first.
    """
    images = [read_rgb(folder / crop.file) for crop in crops]
    for crop, image in zip(crops, images, strict=True):
        if image.shape != images[0].shape:
            raise ImageError(f"crops of shape {images[0].shape}", f"{image.shape} in {folder / crop.file}")
    return np.stack(images)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a training photograph as (H, W, 3) uint8 RGB, turned upright."""
    return to_uint8(read_photo(path).rgb)


def _read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"a table at {path}", "no such file")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"the columns {', '.join(columns)} in {path}", f"a table without {', '.join(missing)}")
        return list(reader)


def write_crops(folder: Path, crops: Sequence[Crop]) -> None:
    """Write the table of a folder of crops; the pictures are written by whoever made them."""
    with replacing_file(folder / CROPS_TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Crop)])
        writer.writeheader()
        writer.writerows(asdict(crop) for crop in crops)


def _group_share(text: str) -> tuple[str, int]:
    group, _, share = text.partition("=")
    if not share.isdigit() or int(share) > EIGHTHS:
        raise argparse.ArgumentTypeError(f"expected GROUP=EIGHTHS, for example london_ccby=4, got '{text}'")
    return group, int(share)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--photos", type=Path, required=True, help="folder with photographs and manifest.csv")
    parser.add_argument("--output", type=Path, required=True, help="folder of crops to write")
    parser.add_argument("--size", type=positive, default=256, help="side of the crops (default: 256)")
    parser.add_argument("--least-px", type=float, default=220, help="smallest native side to keep (default: 220)")
    parser.add_argument(
        "--validate",
        type=_group_share,
        action="append",
        default=[],
        metavar="GROUP=EIGHTHS",
        help="share of a group's people to validate on, in eighths (default: 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make a folder of crops and print how many faces and people lie on each side of the split."""
    crops = prepare_crops(
        arguments.photos, arguments.output, arguments.size, arguments.least_px, dict(arguments.validate)
    )
    for split in ("train", "validation"):
        side = [crop for crop in crops if crop.split == split]
        sys.stdout.write(f"{split}: {len(side)} faces of {len({crop.identity for crop in side})} people\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.distill.faces"))
