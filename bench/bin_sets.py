"""insightface's `.bin` files of verification pairs (lfw, cfp_fp, agedb_30, ...), read without trusting them.

Such a file is a pickle of two lists: encoded pictures, two a pair, and whether each pair shows one person. A pickle can
run anything when it is loaded, so this reader lets in lists, bytes and truth values only. Files made with OpenCV hold
their pictures as numpy arrays of bytes: for what numpy would call to rebuild them, stand-ins keep the bytes and do
nothing else.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError

_FIX = "fetch it from a source you trust, or write a text list of pairs"


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """Read encoded pictures (two a pair) and whether each pair is of one person.

    Raises:
        InputError: no such file, a pickle that asks for anything but lists, bytes, truth values and arrays of bytes,
            or a number of pictures that is not twice that of pairs.
    """
    try:
        with path.open("rb") as file:
            content = _Reader(file, encoding="bytes").load()
    except OSError as error:
        raise InputError("a .bin file of pairs", f"{path}: {error.strerror}") from error
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise InputError("a whole .bin file of pairs", f"{path}: {type(error).__name__}", _FIX) from error
    if not isinstance(content, tuple | list) or len(content) != 2 or not all(isinstance(one, list) for one in content):
        raise InputError("two lists, of pictures and of truth values", f"something else in {path}", _FIX)
    pictures, same = ([_plain(item, path) for item in one] for one in content)
    if len(pictures) != 2 * len(same) or not same:
        raise InputError("two pictures a pair", f"{len(pictures)} pictures of {len(same)} pairs in {path}", _FIX)
    if not all(isinstance(one, bytes) for one in pictures) or not all(one in (0, 1) for one in same):
        raise InputError("pictures as bytes and pairs as True or False", f"something else in {path}", _FIX)
    return [one for one in pictures if isinstance(one, bytes)], [bool(one) for one in same]


def _plain(item: Any, path: Path) -> bytes | int:
    """The bytes or the truth value that an item is, or stands for."""
    if isinstance(item, _Bytes):
        item = item.content
    if isinstance(item, bytearray):
        return bytes(item)
    if not isinstance(item, bytes | bool | int):
        raise InputError("pictures as bytes and pairs as True or False", f"{type(item).__name__} in {path}", _FIX)
    return item


# Every stand-in has its own __setstate__: without one a pickle could set attributes of the class itself.
class _Bytes:
    """What numpy would rebuild an array of bytes or a truth value from; it keeps the bytes and does nothing."""

    __slots__ = ("content",)

    def __init__(self, *arguments: Any) -> None:
        # _frombuffer(bytes, ...), scalar(dtype, bytes), _reconstruct(type, shape, typecode), encode(text, "latin1")
        self.content: Any = next((one for one in arguments if isinstance(one, bytes | bytearray)), b"")
        if len(self.content) == 1 and len(arguments) == 2 and isinstance(arguments[0], _Type):
            self.content = self.content != b"\0"

    def __setstate__(self, state: Any) -> None:
        """Take the bytes of (version, shape, type, order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[4], bytes):
            raise TypeError("state of another kind")
        self.content = state[4]


class _Type:
    """Stands for numpy's types of array and number."""

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        """Keep nothing."""


class _Text:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes for Python 2."""

    __slots__ = ()

    def __new__(cls, text: Any, encoding: Any) -> Any:
        """The bytes of a text, one a character."""
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise TypeError("text of another kind")
        return text.encode("latin1")

    def __setstate__(self, _: Any) -> None:
        """Keep nothing."""


_ALLOWED: dict[tuple[str, str], type] = {
    ("_codecs", "encode"): _Text,
    ("numpy", "ndarray"): _Type,
    ("numpy", "dtype"): _Type,
    **{
        (f"numpy.{package}.{module}", name): _Bytes
        for package in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    },
}


class _Reader(pickle.Unpickler):
    """Resolves the few names above to stand-ins, and nothing else to anything."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Give the stand-in for a name.

        Raises:
            InputError: any other name: loading would run it.
        """
        found = _ALLOWED.get((module_name, global_name))
        if found is None:
            raise InputError("a .bin file of lists, bytes and truth values", f"one that would call {module_name}."
                             f"{global_name}", _FIX)  # fmt: skip
        return found

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse references to what lies outside the file."""
        raise InputError("a .bin file that is whole in itself", f"a reference to {pid!r}", _FIX)
