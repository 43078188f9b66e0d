"""A bundle's manifest: what each file is, what it was made from, and how closely it follows the student.

`manifest.json` is the only index of a bundle; docs/bundle.md explains every key. Reading is strict: an unknown key, a
missing key or a value of another type is an error, so that no tool can act on half a manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .atomic import replacing_file
from .errors import BundleError
from .options import Look

FORMAT = "pocketface-bundle-3"
FILE_NAME = "manifest.json"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a device file.

    Args:
        name: as the file calls it.
        shape: sides; a letter stands for a side that is open.
        dtype: numpy's name of the type.
        layout: the axes, for example `NCHW`.
        low, high: the values that mean black and full brightness.
        colour: order of the channels.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str
    low: float
    high: float
    colour: str = "RGB"


@dataclass(frozen=True)
class ParityFigures:
    """How closely a device file followed the PyTorch student on the golden faces when the bundle was made.

    Args:
        engine: what ran the file, with its version.
        faces: how many were compared.
        worst_face: name of the golden face with the lowest PSNR.
        min_psnr_db, mean_psnr_db: against the PyTorch student, peak 1.0.
        min_residual_snr_db: power of what the student changed over power of the file's error, on the worst face.
        max_abs: largest difference of any value, in [0, 1].
    """

    engine: str
    faces: int
    worst_face: str
    min_psnr_db: float
    mean_psnr_db: float
    min_residual_snr_db: float
    max_abs: float


@dataclass(frozen=True)
class FileEntry:
    """A file, or a folder that a device takes as one file.

    Args:
        path: relative to the bundle, with forward slashes.
        bytes: its size; of a folder, the sum over its files.
        sha256: as `hash_artefact` computes it.
    """

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Artefact:
    """A device file.

    Args:
        file: where it is.
        target: `onnx`, `tflite`, `coreml` or one of their variants, such as `tflite-uint8`.
        precision: `fp32`, `fp16`, `int8`, `dynamic8` or `palette8`.
        size: S of the faces it takes; of a file that takes several, the one to use by default.
        weights_sha256: of the weights decoded from the file, in the network's order; see docs/bundle.md.
        inputs, outputs: the tensors.
        parity: measured when the bundle was made.
        min_runtime: the oldest runtime that knows all of its operations, computed from their versions, in words.
    """

    file: FileEntry
    target: str
    precision: str
    size: int
    weights_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parity: ParityFigures
    min_runtime: str = ""


@dataclass(frozen=True)
class Golden:
    """Degraded faces and what the PyTorch student made of them: raw little-endian float32, (N, 3, S, S) RGB in [0, 1].

    Args:
        size: S.
        names: one a face, in order.
        given, restored: the two files.
    """

    size: int
    names: tuple[str, ...]
    given: FileEntry
    restored: FileEntry


@dataclass(frozen=True)
class Source:
    """The checkpoint that the bundle was made from.

    Args:
        sha256: of the checkpoint's file.
        architecture: what kind of network it is.
        config: its configuration.
        training: what the weights were made from: data, recipe, figures.
        licence: of the weights, as an SPDX expression where there is one.
    """

    sha256: str
    architecture: str
    config: dict[str, Any]
    training: dict[str, Any]
    licence: str


@dataclass(frozen=True)
class Manifest:
    """Everything that a bundle says of itself.

    Args:
        format: FORMAT; another value is a manifest that this version cannot read.
        name: of the network, for people.
        created: UTC, ISO 8601.
        source: the checkpoint.
        tools: name -> version of what made the bundle.
        artefacts: the device files.
        golden: one entry a size.
        looks: name -> the strength to give, and the tone to lay over what comes back.
    """

    format: str
    name: str
    created: str
    source: Source
    tools: dict[str, str]
    artefacts: tuple[Artefact, ...]
    golden: tuple[Golden, ...]
    looks: dict[str, Look]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into a bundle.

    Raises:
        BundleError: a figure that is not finite, which JSON cannot carry.
        OutputError: the folder cannot be written to.
    """
    try:
        text = json.dumps(dataclasses.asdict(manifest), indent=1, allow_nan=False)
    except ValueError as error:
        raise BundleError("finite figures", str(error)) from error
    with replacing_file(folder / FILE_NAME) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's `manifest.json`.

    Raises:
        BundleError: no such file, not JSON, another format, a key or value that does not belong, or a path that leads
            out of the bundle.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise BundleError(f"a bundle with a {FILE_NAME}", f"{error.strerror} at {path}", "export one first") from error
    except ValueError as error:
        raise BundleError("a manifest in JSON", f"{error} in {path}", "export the bundle again") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise BundleError(f"a manifest of format {FORMAT}", f"{found} in {path}", "use the version that made it")
    manifest = typing.cast("Manifest", _build(Manifest, values, "manifest"))
    for entry in _files(manifest):
        inside = PurePosixPath(entry.path)
        if inside.is_absolute() or ".." in inside.parts or "\\" in entry.path:
            raise BundleError("paths inside the bundle", f"'{entry.path}' in {path}")
    return manifest


def describe_file(folder: Path, path: str) -> FileEntry:
    """Measure and hash one file of a bundle.

    Raises:
        BundleError: nothing is there.
    """
    return FileEntry(path, measure_artefact(folder / path), hash_artefact(folder / path))


def hash_artefact(path: Path) -> str:
    """sha256 of a file; of a folder, over each file's relative path, size and content, in order of path.

    Raises:
        BundleError: nothing is there.
    """
    digest = hashlib.sha256()
    for file in _contents(path):
        if path.is_dir():
            digest.update(f"{file.relative_to(path).as_posix()}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def measure_artefact(path: Path) -> int:
    """Bytes of a file, or of all files in a folder.

    Raises:
        BundleError: nothing is there.
    """
    return sum(file.stat().st_size for file in _contents(path))


def _contents(path: Path) -> list[Path]:
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        return sorted(files, key=lambda file: file.relative_to(path).as_posix())
    if not path.is_file():
        raise BundleError("a file of the bundle", f"nothing at {path}", "export the bundle again")
    return [path]


def _files(manifest: Manifest) -> list[FileEntry]:
    golden = [entry for pair in manifest.golden for entry in (pair.given, pair.restored)]
    return [*(artefact.file for artefact in manifest.artefacts), *golden]


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")


def _build(kind: Any, value: Any, where: str) -> Any:
    """Build a value of an annotated type from JSON, naming the place where it does not fit."""
    if kind is Any:
        return value
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return _build_record(kind, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_build(inner[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return (
            value if inner[1] is Any else {key: _build(inner[1], item, f"{where}.{key}") for key, item in value.items()}
        )
    accepted = inner if origin is types.UnionType else (int, float) if kind is float else (kind,)
    if type(value) in accepted:
        return float(value) if kind is float else value
    wanted = getattr(kind, "__name__", str(kind))
    raise BundleError(f"{where} of type {wanted}", type(value).__name__, "export the bundle again")


def _build_record(kind: type, values: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    missing, unknown = sorted(set(hints) - set(values)), sorted(set(values) - set(hints))
    if missing or unknown:
        wrong = [f"missing {key}" for key in missing] + [f"unknown {key}" for key in unknown]
        raise BundleError(f"the keys of {kind.__name__} in {where}", ", ".join(wrong), "export the bundle again")
    return kind(**{key: _build(hint, values[key], f"{where}.{key}") for key, hint in hints.items()})
