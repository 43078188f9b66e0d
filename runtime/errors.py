"""The exceptions that PocketFace raises on purpose.

PocketFaceError
├── InputError              what the user gave cannot be used
│   ├── ImageError          a file that is not an image, is damaged, or has no pixels to speak of
│   ├── ContractError       an array outside the tensor contract (shape, type, range)
│   └── RecipeError         a recipe with an unknown key or an impossible value
├── CheckpointError         weights of another architecture, shape or content than asked for
├── BundleError             a bundle whose files and manifest disagree
├── ExportError             a network that cannot be written in the format asked for
├── BackendError            an engine that is missing here or refuses the file
└── OutputError             a place that cannot be written to

Every message says what was expected, what came instead, and what to do about it. The command line prints it as one line
and exits with 2; anything that is not a PocketFaceError is a defect of PocketFace and keeps its traceback.
"""

from __future__ import annotations


class PocketFaceError(Exception):
    """Base of all errors that PocketFace raises on purpose.

    Args:
        expected: what would have been accepted, without a trailing full stop.
        got: what came instead.
        fix: what the caller can do about it; empty where nothing sensible can be advised.
    """

    def __init__(self, expected: str, got: str, fix: str = "") -> None:
        self.expected = expected
        self.got = got
        self.fix = fix
        advice = f"; {fix}" if fix else ""
        super().__init__(f"expected {expected}, got {got}{advice}")

    def __reduce__(self) -> tuple[type[PocketFaceError], tuple[str, str, str]]:
        # The default pickles only the joined message, which __init__ would not accept in a worker process.
        return type(self), (self.expected, self.got, self.fix)


class InputError(PocketFaceError):
    """What the user gave cannot be used."""


class ImageError(InputError):
    """A file that is not an image, is damaged, or has no pixels to speak of."""


class ContractError(InputError):
    """An array outside the tensor contract: shape, type or range."""


class RecipeError(InputError):
    """A recipe with an unknown key or an impossible value."""


class CheckpointError(PocketFaceError):
    """Weights of another architecture, shape or content than asked for."""


class BundleError(PocketFaceError):
    """A bundle whose files and manifest disagree."""


class ExportError(PocketFaceError):
    """A network that cannot be written in the format asked for."""


class BackendError(PocketFaceError):
    """An engine that is missing on this machine or refuses the file."""


class OutputError(PocketFaceError):
    """A place that cannot be written to."""
