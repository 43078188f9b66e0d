"""A comparison sheet: validation faces, degraded, as each restorer gives them back, beside the original; one JPEG.

    python -m pocketface.bench.sheet --crops crops student=student-base teacher=teacher -o sheet.jpg
    python -m pocketface.bench.sheet --crops crops detail=detail.safetensors --levels severe x8 --rows 4 -o sheet.jpg
Nobody picks the faces: each group of photographs in the table of crops gets as many rows, and its faces lie evenly
spaced in its part of the validation split. They are degraded as for the validation table, and the licences of what is
shown are written below. Under each picture: PSNR against the original, and sharpness, 1 being the original's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import cv2

from ..distill.faces import Crop, read_crops
from ..export.progress import shown
from ..runtime.atomic import replacing_file
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError, OutputError
from ..runtime.faces.degrade import degrade_face
from ..runtime.images import to_faces
from ..runtime.restorer import Restorer
from .accuracy import add_level_argument, add_restorer_arguments
from .candidates import named_candidates
from .contact_sheet import draw_sheet
from .faces_set import FaceSet, Pixels, crop_side, read_crop
from .lineup import NOT_RESTORERS, show_faces
from .report import Example
from .resized import at_size

# A picture that a page can carry.
MOST_BYTES = 1_000_000
_QUALITIES = range(92, 39, -4)
_SUFFIXES = (".jpg", ".jpeg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_restorer_arguments(parser)
    add_level_argument(parser, ("medium", "severe", "x8"))
    parser.add_argument("--rows", type=positive, default=6, metavar="N", help="faces at each level (default: 6)")
    parser.add_argument(
        "--groups", nargs="+", metavar="GROUP", help="show only these groups of the table of crops (default: all)"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE", help="JPEG to write")


def run(arguments: argparse.Namespace) -> int:
    """Choose, degrade, restore, draw."""
    output: Path = arguments.output
    if output.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"a name ending in {' or '.join(_SUFFIXES)}", str(output))
    candidates = named_candidates(arguments.restorers, NOT_RESTORERS, arguments.device)
    crops = read_crops(arguments.crops, "validation")
    places = choose_rows(crops, arguments.rows, arguments.groups)
    size = crop_side(arguments.crops / crops[0].file)
    faces = {place: read_crop(arguments.crops / crops[place].file, size) for place in places}
    restorers = {candidate.label: at_size(candidate.open(), size) for candidate in candidates}
    blocks = {}
    with shown(len(arguments.levels)) as step:
        for level in arguments.levels:
            step(level)
            blocks[level] = restore_faces(faces, level, restorers)
    quality = write_jpeg(draw_sheet(blocks, attributions([crops[place] for place in places])), output)
    sys.stdout.write(f"{output}: {output.stat().st_size:,} bytes, JPEG quality {quality}\n")
    return 0


def choose_rows(crops: Sequence[Crop], count: int, groups: Sequence[str] | None = None) -> list[int]:
    """Choose faces by rule: as many of each group, evenly spaced in its part of the table.

    Args:
        crops: the validation split, in the table's order.
        count: how many.
        groups: only these; None takes all.

    Returns:
        Places in `crops`, group after group.

    Raises:
        InputError: not a positive number, or a group that is not there.
    """
    places: dict[str, list[int]] = {}
    for place, crop in enumerate(crops):
        places.setdefault(crop.group, []).append(place)
    chosen = list(places) if groups is None else list(dict.fromkeys(groups))
    if unknown := [group for group in chosen if group not in places]:
        raise InputError(f"groups of {', '.join(places)}", ", ".join(unknown))
    if count < 1:
        raise InputError("a positive number for --rows", str(count))
    turns = list(islice(cycle(chosen), count))
    wanted = {group: min(turns.count(group), len(places[group])) for group in chosen}
    return [
        places[group][(2 * row + 1) * len(places[group]) // (2 * rows)]
        for group, rows in wanted.items()
        for row in range(rows)
    ]


def restore_faces(faces: Mapping[int, Pixels], level: str, restorers: Mapping[str, Restorer]) -> list[Example]:
    """Degrade faces at one level and restore them with each restorer.

    Args:
        faces: place in the validation split, which is the seed of the degradation -> (S, S, 3) uint8 RGB.
        level: of the grid.
        restorers: label -> restorer.
    """
    given = to_faces([degrade_face(face, level, place) for place, face in faces.items()])
    names = tuple(str(place) for place in faces)
    chosen = FaceSet(names, given, to_faces(list(faces.values())), "")
    return show_faces(chosen, {label: restorer(given) for label, restorer in restorers.items()}, len(names))


def attributions(crops: Sequence[Crop]) -> list[str]:
    """What must be said of the photographs shown: one line a licence, with the rows that it is about."""
    rows: dict[str, list[int]] = {}
    for row, crop in enumerate(crops, 1):
        rows.setdefault(crop.licence, []).append(row)
    return [
        f"Row{'s' if len(of) > 1 else ''} {', '.join(map(str, of))} of each level: {licence}"
        for licence, of in rows.items()
    ]


def write_jpeg(pixels: Pixels, path: Path, most_bytes: int = MOST_BYTES) -> int:
    """Write a JPEG at the best quality that stays within a number of bytes.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        path: where.
        most_bytes: at most so many.

    Returns:
        The quality, of 100.

    Raises:
        OutputError: it stays larger at the lowest quality that still shows anything, or cannot be written.
    """
    swapped = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    for quality in _QUALITIES:
        _, data = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if data.size <= most_bytes:
            with replacing_file(path) as temporary:
                temporary.write_bytes(data.tobytes())
            return quality
    raise OutputError(f"a sheet of at most {most_bytes:,} bytes", "a larger one", "show fewer rows or restorers")


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.sheet"))
