"""The readers that meet strangers' files, whole files for each to start from, and the process in which they are tried.

A reader may give what it read or raise a PocketFaceError. Anything else is a finding: another exception, the end of the
process, no answer in time, a file written or a program started outside the folder that the trial works in.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import resource
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..runtime.errors import PocketFaceError
from .mutations import mutate

Read = Callable[[Path], object]
_MEMORY_BYTES = 8 * 2**30
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events by which Python code changes the disk, starts programs or reaches the network.
_FORBIDDEN = frozenset(
    {
        "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.remove",
        "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "shutil.rmtree",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One damaged file.

    Args:
        reader: a name of `readers()`.
        number: decides, with the reader, what the file is.
    """

    reader: str
    number: int


@dataclass(frozen=True)
class OpenReaders:
    """Opens the task of a worker process: a Trial in, `read` or `refused` out.

    Args:
        names: of the readers to try; their engines are imported.
        folder: to write the damaged files to; nothing else may be written.
        seed: of all trials.
    """

    names: tuple[str, ...]
    folder: Path
    seed: int

    def __call__(self) -> Callable[[Trial], str]:
        """Make the whole files, read each once, and shut the door."""
        sys.dont_write_bytecode = True
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        self.folder.mkdir(parents=True, exist_ok=True)
        known = readers()
        wholes = {name: whole_files(name, self.folder) for name in self.names}
        task = _ReaderTask({name: known[name] for name in self.names}, wholes, self)
        for name in self.names:
            task.read_wholes(name)
        task.shut()
        return task


class _ReaderTask:
    def __init__(
        self, known: Mapping[str, Read], wholes: Mapping[str, Mapping[str, bytes]], given: OpenReaders
    ) -> None:
        self._known, self._wholes, self._given = known, wholes, given
        self._escapes: list[str] = []

    def __call__(self, trial: Trial) -> str:
        name, content = damaged_file(self._wholes[trial.reader], self._given.seed, trial)
        path = self._given.folder / f"{os.getpid()}-{name}"
        path.write_bytes(content)
        try:
            self._known[trial.reader](path)
        except PocketFaceError:
            answer = "refused"
        else:
            answer = "read"
        if self._escapes:
            seen, self._escapes[:] = ", ".join(self._escapes), []
            raise AssertionError(f"a reader left its folder: {seen}")
        path.unlink()  # what was a finding stays
        return answer

    def read_wholes(self, name: str) -> None:
        """Whole files must be readable; engines import what they need on the way."""
        for suffix, content in self._wholes[name].items():
            path = self._given.folder / f"whole-{os.getpid()}-{suffix}"
            path.write_bytes(content)
            self._known[name](path)
            path.unlink()

    def shut(self) -> None:
        """Watch from now on what Python code does to disk, programs and network."""
        folder = str(self._given.folder.resolve())

        def watch(event: str, words: tuple[object, ...]) -> None:
            if event == "open":
                path, _, flags = words
                outside = isinstance(path, str) and not os.path.abspath(path).startswith(folder)  # noqa: PTH100
                if outside and isinstance(flags, int) and flags & _WRITING and path != os.devnull:
                    self._escapes.append(f"open {path}")
            elif event in _FORBIDDEN and not any(folder in str(word) for word in words):
                self._escapes.append(f"{event} {words!r}"[:200])

        sys.addaudithook(watch)


def damaged_file(wholes: Mapping[str, bytes], seed: int, trial: Trial) -> tuple[str, bytes]:
    """Name and content of a trial's file: a function of its arguments."""
    rng = np.random.default_rng([seed, trial.number, *trial.reader.encode()])
    names = sorted(wholes)
    name = names[int(rng.integers(len(names)))]
    return name, mutate(wholes[name], list(wholes.values()), rng)


def readers() -> dict[str, Read]:
    """All readers by name; each imports its engine when it is first called."""
    return {
        "image": _read_image, "tflite": _open_restorer, "onnx": _open_restorer, "checkpoint": _open_restorer,
        "pickled": _read_pickled, "manifest": _read_manifest, "records": _read_records,
    }  # fmt: skip


def _read_image(path: Path) -> object:
    from ..runtime.images import read_photo

    return read_photo(path)


def _open_restorer(path: Path) -> object:
    from ..runtime.backends import open_restorer

    return open_restorer(path, device="cpu", threads=1)


def _read_pickled(path: Path) -> object:
    from ..runtime.models.pickled import read_pickled

    return read_pickled(path)


def _read_manifest(path: Path) -> object:
    from ..runtime.manifest import FILE_NAME, read_manifest

    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / FILE_NAME).write_bytes(path.read_bytes())
    return read_manifest(folder)


def _read_records(path: Path) -> object:
    from ..runtime.batch.journal import RECORDS, records_of

    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / RECORDS).write_bytes(path.read_bytes())
    return list(records_of(folder))


def whole_files(reader: str, folder: Path) -> dict[str, bytes]:
    """Whole files for a reader: name with the suffix it goes by -> content.

    Args:
        reader: a name of `readers()`.
        folder: for work in progress.
    """
    if reader == "image":
        return dict(_whole_images())
    if reader in ("manifest", "records"):
        return {f"{reader}.json": _whole_text(reader)}
    return dict(_whole_weights(reader, folder))


def _whole_images() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (4, 5, 4), np.uint8), (40, 32), interpolation=cv2.INTER_CUBIC)
    photo = Image.fromarray(smooth[:, :, :3].astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    for name, mode, kind, named in (
        ("baseline.jpg", "RGB", "JPEG", {"exif": exif.tobytes(), "dpi": (300, 300)}),
        ("progressive.jpg", "RGB", "JPEG", {"progressive": True, "icc_profile": bytes(range(200))}),
        ("cmyk.jpg", "CMYK", "JPEG", {}),
        ("grey.jpg", "L", "JPEG", {}),
        ("colour.png", "RGB", "PNG", {"exif": exif.tobytes()}),
        ("palette.png", "P", "PNG", {"transparency": 3}),
        ("alpha.png", "RGBA", "PNG", {}),
        ("plain.tif", "RGB", "TIFF", {"exif": exif}),
        ("packed.tif", "RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("lossy.webp", "RGB", "WEBP", {"exif": exif.tobytes()}),
        ("lossless.webp", "RGBA", "WEBP", {"lossless": True}),
        ("plain.bmp", "RGB", "BMP", {}),
        ("plain.gif", "P", "GIF", {}),
    ):
        stream = io.BytesIO()
        photo.convert(mode).save(stream, kind, **named)
        yield name, stream.getvalue()
    deep = smooth.astype(np.uint16) * 257
    yield "deep.png", cv2.imencode(".png", deep)[1].tobytes()
    yield "deep.tif", cv2.imencode(".tif", deep[:, :, :3])[1].tobytes()


def _whole_text(reader: str) -> bytes:
    if reader == "records":
        from ..runtime.batch.record import FileRecord

        return FileRecord("a.jpg", "restored", "a.jpg", input={"bytes": 1, "mtime_ns": 2}).to_line().encode()
    from ..runtime.manifest import FORMAT, Manifest

    return json.dumps({**_sample(Manifest), "format": FORMAT}).encode()


def _sample(kind: Any) -> Any:
    """A JSON value of an annotated type: one of everything."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return {name: _sample(hint) for name, hint in typing.get_type_hints(kind).items()}
    if origin in (tuple, list):
        return [_sample(inner[0])]
    if origin is dict:
        return {}
    if origin is types.UnionType:
        return _sample(inner[0])
    return {str: "a", int: 1, float: 1.0, bool: True}.get(kind)


def _whole_weights(reader: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Files of a student as small as one can be."""
    import torch

    from ..export.deploy_graph import build_deploy_graph
    from ..export.targets import TARGETS, Job
    from ..runtime.models.checkpoint import save_checkpoint
    from ..runtime.models.student import StudentConfig, StudentRestorer

    torch.manual_seed(0)
    model = StudentRestorer(StudentConfig((8, 8), (1,), 1, (1,), 1)).eval()
    if reader == "pickled":
        stream = io.BytesIO()
        torch.save(model.state_dict(), stream)
        yield "student.pth", stream.getvalue()
        return
    path = folder / f"{os.getpid()}-student.safetensors"
    if reader == "checkpoint":
        save_checkpoint(path, model, training={"data": "none"})
    else:
        path = path.with_suffix(TARGETS[reader].suffix)
        TARGETS[reader].write(Job(build_deploy_graph(model), 64, "fp32", path, None, {"name": "student"}))
    yield f"student{path.suffix}", path.read_bytes()
    path.unlink()
