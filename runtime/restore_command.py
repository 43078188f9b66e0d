"""Restore the faces in a photograph.

    pocketface restore in.jpg -o out.png
    pocketface restore in.jpg -o out.png --model bundle/student_base_256_int8.tflite --strength 0.8

Everything outside the faces stays as it is, to the bit where the output format allows; orientation, transparency,
16 bits, EXIF and colour profile are kept. A photograph without a face is passed through unchanged, and said so.
Exit code: 0, or 2 with one line where something cannot be read, used or written; the output then stays as it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2

from .atomic import replacing_file
from .backends import open_restorer
from .encode import FORMATS, format_for
from .errors import InputError
from .faces.detect import DEFAULT as DEFAULT_DETECTOR
from .faces.detect import open_detector
from .images import check_destination, read_photo, write_photo
from .options import PhotoOptions
from .photo import PhotoResult, restore_photo
from .restorer import RestorerInfo
from .weights import DEFAULT_RESTORER, SHIPPED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface restore`."""
    parser.add_argument("photo", type=Path, help="JPEG, PNG, TIFF, WebP, BMP or GIF")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write; its suffix decides the format")
    parser.add_argument(
        "--model",
        default=DEFAULT_RESTORER,
        help=f"{', '.join(name for name in SHIPPED if name != 'identity')}, or a .tflite, .onnx, .safetensors or "
        ".mlpackage (default: %(default)s)",
    )
    parser.add_argument("--strength", type=float, default=1.0, help="0 (nothing) to 1 (all of it, default)")
    parser.add_argument(
        "--detector", default=DEFAULT_DETECTOR, help="mtcnn (default), a YuNet .onnx, a RetinaFace .pth"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: the engine's choice)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write what was found and done: model, boxes, landmarks, matrices"
    )


def run(arguments: argparse.Namespace) -> int:
    """Restore one photograph and say in one line what happened."""
    _check(arguments)
    photo = read_photo(arguments.photo)
    check_destination(arguments.output, photo)
    restorer = open_restorer(arguments.model, device=arguments.device, threads=arguments.threads)
    detector = open_detector(arguments.detector, threads=arguments.threads)
    result = restore_photo(photo, restorer, detector, PhotoOptions(strength=arguments.strength))
    _write(arguments, result)
    if arguments.json is not None:
        record = json.dumps(_record(arguments, restorer.info, result), indent=1)
        with replacing_file(arguments.json) as temporary:
            temporary.write_text(record + "\n", encoding="utf-8")
    sys.stdout.write(f"{arguments.output}: {_said(result)}\n")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse before any work what cannot end well."""
    if not 0 <= arguments.strength <= 1:
        raise InputError("--strength from 0 to 1", f"{arguments.strength:g}")
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise InputError("--threads of at least 1", str(arguments.threads))
        cv2.setNumThreads(arguments.threads)
    check_destination(arguments.output)
    files = [path.resolve() for path in (arguments.photo, arguments.output, arguments.json) if path is not None]
    if len(set(files)) < len(files):
        raise InputError("different files to read and to write", "the same one twice", "choose another output")


def _write(arguments: argparse.Namespace, result: PhotoResult) -> None:
    """Write the photograph; where nothing was done to it and the format stays, its very bytes."""
    same = arguments.photo.suffix.lower() in FORMATS and format_for(arguments.photo.suffix) == format_for(
        arguments.output.suffix
    )
    if result.faces or not same:
        write_photo(result.photo, arguments.output)
        return
    with replacing_file(arguments.output) as temporary:
        temporary.write_bytes(arguments.photo.read_bytes())


def _said(result: PhotoResult) -> str:
    count = len(result.faces)
    if not count:
        return "no face found, the photograph was passed through unchanged"
    return f"{count} face{'s' if count > 1 else ''} restored"


def _record(arguments: argparse.Namespace, info: RestorerInfo, result: PhotoResult) -> dict[str, object]:
    return {
        "photo": str(arguments.photo),
        "output": str(arguments.output),
        "model": {"name": info.name, "engine": info.engine, "device": info.device, "sha256": info.sha256},
        "strength": arguments.strength,
        "faces": [face.to_json() for face in result.faces],
    }
