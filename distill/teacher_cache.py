"""What a teacher said, kept on disk, so that a slow one is paid for once.

Ageing draws from the recipe's seed and the step's number alone, so a second student, a resumed run or a run with
other losses sees the same aged faces, and finds what the teacher made of each. An entry's name is a hash of the teacher
and of the pixels that it was given, which stand for seed, step, crop and every setting of the ageing at once; another
teacher can never answer. Entries appear whole or not at all, so a run may be killed at any moment.

Entries are 8-bit PNGs, about 100 KiB for a face of 256 x 256. Rounding costs what an image file costs (59 dB against
the exact answer, docs/teachers.md); it is applied to fresh answers too, so that a run with a warm cache takes the same
steps as one with an empty one.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.atomic import make_folder, replacing_file
from ..runtime.decode import Raster, decode
from ..runtime.encode import encode
from ..runtime.errors import ImageError, OutputError
from ..runtime.images import to_faces, to_pixels
from .teachers import Teacher

# Part of every key: to be changed with anything that changes what the same weights say of the same face.
FORMAT = "pocketface-teacher-cache-1"
DEFAULT_LIMIT = 20 * 2**30
_SUFFIX = ".said"
_DIGEST = hashlib.sha256().digest_size
_ABANDONED_AFTER = 3600  # seconds; no write takes as long


class TeacherCacheWarning(UserWarning):
    """The cache goes on, but with less use than one would think."""


class TeacherCache:
    """Answers of one teacher in a folder, which other teachers and other processes may share.

    When the limit is reached nothing more is stored and nothing is thrown away: a second run asks in the order of the
    first, and throwing away the oldest would then always throw away what is needed next.

    Args:
        folder: made if missing; holds one sub-folder a teacher.
        teacher_sha256: whose answers.
        limit: bytes of this teacher's entries, counted when the cache is opened and as this process writes.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, teacher_sha256: str, limit: int = DEFAULT_LIMIT) -> None:
        self.folder, self.limit = folder / teacher_sha256[:16], limit
        self._teacher, self._full = teacher_sha256, False
        make_folder(self.folder)
        self.bytes = self._tidy()

    def key(self, *given: NDArray[np.float32]) -> str:
        """Name of the entry for what the teacher is given: (3, S, S) each, the aged face and what else it looks at."""
        digest = hashlib.sha256(f"{FORMAT}\n{self._teacher}\n".encode())
        for part in given:
            digest.update(f"{part.shape}\n".encode() + part.tobytes())
        return digest.hexdigest()

    def get(self, key: str) -> NDArray[np.uint8] | None:
        """What the teacher said, (S, S, 3) RGB; None where nothing is stored, or something damaged, which is told."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:  # there, but not to be read
            content = b""
        checksum, payload = content[:_DIGEST], content[_DIGEST:]
        if checksum == _checksum(key, payload):
            with suppress(ImageError):
                return decode(payload, path.name).pixels.astype(np.uint8)
        warnings.warn(f"{path} is damaged; the teacher is asked again", TeacherCacheWarning, stacklevel=2)
        return None

    def put(self, key: str, said: NDArray[np.uint8]) -> None:
        """Store what the teacher said, (S, S, 3) RGB, unless the cache is full, which is told once.

        Raises:
            OutputError: the folder cannot be written to, or the disk is full.
        """
        payload = encode(Raster(said), ".png")
        entry = _checksum(key, payload) + payload
        if self.bytes + len(entry) > self.limit:
            if not self._full:
                message = f"{self.folder} has reached its limit of {self.limit} bytes; nothing more is stored"
                warnings.warn(message, TeacherCacheWarning, stacklevel=2)
            self._full = True
            return
        path = self._path(key)
        try:
            with replacing_file(path) as temporary:
                temporary.write_bytes(entry)
        except OSError as error:
            raise OutputError("room for the teacher's answers", f"{path}: {error.strerror}") from error
        self.bytes += len(entry)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / (key[2:] + _SUFFIX)

    def _tidy(self) -> int:
        """Remove what killed writers left behind, and add up the rest."""
        total, now = 0, time.time()
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            with suppress(FileNotFoundError):  # another process may tidy, too
                found = path.stat()
                if path.name.startswith(".") and now - found.st_mtime > _ABANDONED_AFTER:
                    path.unlink()
                else:
                    total += found.st_size
        return total


class CachedTeacher:
    """A teacher that remembers; called like a `Teacher`.

    Args:
        teacher: whom to ask where nothing is stored.
        folder: of the cache.
        limit: see `TeacherCache`.
    """

    def __init__(self, teacher: Teacher, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.teacher, self.cache = teacher, TeacherCache(folder, teacher.sha256, limit)
        self.name, self.sha256 = teacher.name, teacher.sha256
        self.hits = self.misses = 0

    def check_crop(self, crop: int) -> None:
        """See `Teacher.check_crop`."""
        self.teacher.check_crop(crop)

    def __call__(self, aged: Tensor, face: Tensor | None = None) -> Tensor:
        """Restore a batch, rounded to 8 bits; arguments, result and errors are those of `Teacher`."""
        keys = self._keys(aged, face if self.teacher.guided else None)
        said = [self.cache.get(key) for key in keys]
        missing = [index for index, found in enumerate(said) if found is None]
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        if missing:
            index = torch.tensor(missing, device=aged.device)
            fresh = self.teacher(aged[index], None if face is None else face[index])
            pixels = to_pixels(fresh.permute(0, 2, 3, 1).cpu().numpy(), np.dtype(np.uint8))
            for place, answer in zip(missing, pixels.astype(np.uint8, copy=False), strict=True):
                said[place] = answer
                self.cache.put(keys[place], answer)
        return torch.from_numpy(to_faces([one for one in said if one is not None])).to(aged.device)

    def _keys(self, aged: Tensor, face: Tensor | None) -> list[str]:
        given = [part.float().cpu().numpy() for part in ((aged,) if face is None else (aged, face))]
        return [self.cache.key(*parts) for parts in zip(*given, strict=True)]


def _checksum(key: str, payload: bytes) -> bytes:
    """Over the name as well, so that an entry under another's name is damage."""
    return hashlib.sha256(key.encode() + payload).digest()
