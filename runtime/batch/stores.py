"""Object stores and other far places, by URL: what fsspec reaches (s3://, gs://, az://, hdfs://, file://, ...).

Credentials are those of the machine. An object appears whole or not at all, so that writing one again does no harm.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import BackendError, ImageError, InputError, OutputError
from .listing import name_error, output_name
from .record import FAILED, IGNORED, Entry

# Where stores say when an object was changed; what none of these tells counts by its size alone.
_TIMES = ("mtime", "LastModified", "updated", "last_modified", "modificationTime")


def is_url(place: object) -> bool:
    """Whether a place is far away."""
    return "://" in str(place)


@dataclass(frozen=True)
class Store:
    """A folder behind a URL; plain values, so that it can travel to other machines.

    Args:
        url: of the folder.
    """

    url: str

    def entries(self, suffix: str = "") -> list[Entry]:
        """Everything below the folder, in order of names.

        Args:
            suffix: of every output; empty keeps each file's own where it can be written.

        Raises:
            InputError: nothing is there, or the store cannot be reached.
        """
        found = self._find()
        if not found:
            raise InputError("photographs", f"nothing at {self.url}")
        return [_entry(name, found[name], suffix) for name in sorted(found)]

    def sizes(self) -> dict[str, int]:
        """Name -> bytes of everything below the folder; empty where there is nothing.

        Raises:
            InputError: the store cannot be reached.
        """
        return {name: int(facts.get("size") or 0) for name, facts in self._find().items()}

    def fetch(self, name: str, path: Path) -> None:
        """Copy an object to a local file.

        Raises:
            ImageError: it cannot be read.
        """
        files, root = self._open()
        try:
            files.get_file(f"{root}/{name}", str(path))
        except Exception as error:  # every store has errors of its own
            raise ImageError("a readable object", f"{self.url}/{name}: {_reason(error)}") from error

    def put(self, path: Path, name: str) -> None:
        """Copy a local file to an object.

        Raises:
            OutputError: it cannot be written.
        """
        files, root = self._open()
        try:
            files.makedirs(f"{root}/{name}".rsplit("/", 1)[0], exist_ok=True)
            files.put_file(str(path), f"{root}/{name}")
        except Exception as error:  # every store has errors of its own
            raise OutputError(f"a writable {self.url}/{name}", _reason(error), "check your credentials") from error

    def _find(self) -> dict[str, dict[str, Any]]:
        files, root = self._open()
        try:
            found: dict[str, dict[str, Any]] = files.find(root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:  # every store has errors of its own
            raise InputError(
                f"a reachable {self.url}", _reason(error), "check its name and your credentials"
            ) from error
        return {path[len(root) + 1 :]: facts for path, facts in found.items()}

    def _open(self) -> tuple[Any, str]:
        try:
            core = importlib.import_module("fsspec.core")
            files, root = core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            fix = "run: pip install 'pocketface[cluster]' and the store's own package, for example s3fs"
            raise BackendError(f"what reaches {self.url}", _reason(error), fix) from error
        return files, root.rstrip("/")


def _entry(name: str, facts: dict[str, Any], suffix: str) -> Entry:
    entry = Entry(name, "", int(facts.get("size") or 0), _time_of(facts))
    wrong = name_error(name)
    if wrong:
        return replace(entry, status=IGNORED, error=wrong)
    if ".." in name.split("/"):  # a name like any other in some stores, and a way out of the folder here
        return replace(entry, status=FAILED, error="expected a name without '..'")
    return replace(entry, output=output_name(name, suffix))


def _time_of(facts: dict[str, Any]) -> int:
    """Nanoseconds since 1970 of the last change; 0 where the store does not tell."""
    for key in _TIMES:
        value = facts.get(key)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = value.timestamp()
        if isinstance(value, (int, float)):
            return int(value * 1_000_000) * 1000
    return 0


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
