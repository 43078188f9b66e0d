"""Restore the faces in a photograph.

    pocketface restore in.jpg -o out.png
    pocketface restore in.jpg -o out.png --model bundle/student_base_256_int8.tflite --strength 0.8
    pocketface restore party.jpg -o out.png --reference me.jpg --anonymise others
    pocketface restore small.jpg -o out.png --upscale 4 --style clear --colour revive

Unless more is asked for, everything outside the faces stays as it is, to the bit where the output format allows;
orientation, transparency, 16 bits, EXIF and colour profile are kept. A face that would no longer look like itself is
restored more weakly or left alone. A photograph without a face is passed through unchanged, and said so.
Exit code: 0, or 2 with one line where something cannot be read, used or written; the output then stays as it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2

from .atomic import replacing_file
from .backends import ENGINES, open_restorer
from .batch.command import add_arguments as add_batch_arguments
from .batch.command import check_threads, is_batch, output_place, run_batch
from .cli import printable
from .companions import open_companions
from .encode import FORMATS, format_for
from .errors import InputError
from .faces.detect import DEFAULT as DEFAULT_DETECTOR
from .faces.detect import open_detector
from .images import check_destination, read_photo, write_photo
from .options import PhotoOptions
from .options_arguments import add_option_arguments, options_from
from .photo import PhotoResult, restore_photo
from .restorer import RestorerInfo
from .weights import DEFAULT_RESTORER, SHIPPED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface restore`."""
    parser.add_argument(
        "photos", nargs="+", metavar="photo", help="a photograph; or folders, patterns and files for a batch"
    )
    parser.add_argument(
        "-o", "--output", type=output_place, required=True,
        help="file to write, whose suffix decides the format; or a folder",
    )  # fmt: skip
    parser.add_argument(
        "--model",
        default=DEFAULT_RESTORER,
        help=f"{', '.join(name for name in SHIPPED if name != 'identity')}, or a file ending in {', '.join(ENGINES)} "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--detector", default=DEFAULT_DETECTOR, help="mtcnn (default), a YuNet .onnx, a RetinaFace .pth"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: the engine's choice)")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write what was found and done: model, options, and each face's record",
    )
    add_option_arguments(parser)
    add_batch_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Restore one photograph and say in one line what happened."""
    options = options_from(arguments)
    if is_batch(arguments.photos, arguments.output):
        return run_batch(arguments, arguments.photos, options)
    arguments.photo = Path(arguments.photos[0])
    _check(arguments, options)
    photo = read_photo(arguments.photo)
    check_destination(arguments.output, photo)
    restorer = open_restorer(arguments.model, device=arguments.device, threads=arguments.threads)
    detector = open_detector(arguments.detector, threads=arguments.threads)
    companions = open_companions(options, detector, device=arguments.device, threads=arguments.threads)
    result = restore_photo(photo, restorer, detector, options, companions, overwrite=True)
    unchanged = result.photo is photo
    del photo  # a large scan is held twice by now, and encoding holds it once more
    if arguments.json is None:
        _write(arguments, result, unchanged=unchanged)
    else:
        record = json.dumps(_record(arguments, options, restorer.info, result), indent=1)
        # Both or neither: a record that cannot be written ends it before the photograph is.
        with replacing_file(arguments.json) as temporary:
            temporary.write_text(record + "\n", encoding="utf-8")
            _write(arguments, result, unchanged=unchanged)
    sys.stdout.write(printable(f"{arguments.output}: {_said(result, options, unchanged=unchanged)}") + "\n")
    return 0


def _check(arguments: argparse.Namespace, options: PhotoOptions) -> None:
    """Refuse before any work what cannot end well."""
    if arguments.threads is not None:
        check_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
    check_destination(arguments.output)
    read = [path.resolve() for path in (arguments.photo, options.reference) if path is not None]
    written = [path.resolve() for path in (arguments.output, arguments.json) if path is not None]
    if len({*written}) < len(written) or not {*written}.isdisjoint(read):
        raise InputError("different files to read and to write", "the same one twice", "choose another output")


def _write(arguments: argparse.Namespace, result: PhotoResult, *, unchanged: bool) -> None:
    """Write the photograph; where nothing was done to it and the format stays, its very bytes."""
    same = arguments.photo.suffix.lower() in FORMATS and format_for(arguments.photo.suffix) == format_for(
        arguments.output.suffix
    )
    if not (unchanged and same):
        write_photo(result.photo, arguments.output)
        return
    with replacing_file(arguments.output) as temporary:
        temporary.write_bytes(arguments.photo.read_bytes())


def _said(result: PhotoResult, options: PhotoOptions, *, unchanged: bool) -> str:
    said = result.describe()
    if unchanged:
        return f"{said}, the photograph was passed through unchanged"
    return said if result.faces or options.anonymise == "nobody" else f"{said}: NOBODY WAS MADE ANONYMOUS"


def _record(
    arguments: argparse.Namespace, options: PhotoOptions, info: RestorerInfo, result: PhotoResult
) -> dict[str, object]:
    return {
        "photo": str(arguments.photo),
        "output": str(arguments.output),
        "model": {"name": info.name, "engine": info.engine, "device": info.device, "sha256": info.sha256},
        "options": options.to_json(),
        "seconds": {stage: round(seconds, 4) for stage, seconds in result.seconds.items()},
        "faces": [face.to_json() for face in result.faces],
    }
