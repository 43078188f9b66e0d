"""The command `pocketface VERB`: finds its verbs through entry points, so that it names no upper room.

A verb is a module with a docstring (its help), `add_arguments(parser)` and `run(arguments) -> int` (its exit code).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Protocol, cast

from .atomic import FULL
from .errors import PocketFaceError

GROUP = "pocketface.commands"
USAGE_ERROR = 2
INTERRUPTED = 130
NOBODY_LISTENS = 141  # as a shell says of who wrote into a closed pipe


class Command(Protocol):
    """What a verb's module offers."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's arguments."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do the work and return the exit code."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pocketface VERB ...` and return its exit code.

    Args:
        argv: arguments without the program's name; None takes them from the command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _within(lambda: _dispatch(arguments), "pocketface")


def _dispatch(arguments: list[str]) -> int:
    verbs = {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_overview(verbs))
        return 0 if arguments else USAGE_ERROR
    if arguments[0] == "--version":
        sys.stdout.write(f"pocketface {version('pocketface')}\n")
        return 0
    if arguments[0] not in verbs:
        return _complain(f"pocketface: expected one of {', '.join(verbs)}, got '{arguments[0]}'")
    return _run_entry_point(verbs[arguments[0]], arguments[1:])


def run_command(command: Command, prog: str, argv: Sequence[str]) -> int:
    """Parse a verb's arguments, run it, and turn errors raised on purpose into one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return _within(lambda: command.run(parser.parse_args(argv)), prog)


def run_module(prog: str) -> int:
    """Run the module that Python was started with as a command: what `python -m` modules end with."""
    return run_command(cast("Command", sys.modules["__main__"]), prog, sys.argv[1:])


def _within(work: Callable[[], int], prog: str) -> int:
    """Do the work and say it all; what goes wrong as it may becomes one line and an exit code."""
    try:
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        _fall_silent()
        return NOBODY_LISTENS
    except PocketFaceError as error:
        return _complain(f"{prog}: {error}")
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        # Outputs name their files; what has no name and finds no room is what we say.
        _fall_silent()
        return _complain(f"{prog}: expected room for what is said on the standard output, got: {error.strerror}")
    except KeyboardInterrupt:
        return _complain(f"{prog}: interrupted", INTERRUPTED)
    return code


def _fall_silent() -> None:
    """Let nothing more be said: Python would fail once more when it ends and empties its buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def printable(text: str) -> str:
    """Text as one harmless line: what moves a terminal's cursor or colours it is written as an escape.

    Names of files may hold line ends and control characters.
    """
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def positive(text: str) -> int:
    """Read a whole number of at least 1: the `type` of arguments that count something.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return int(text)


def _run_entry_point(point: EntryPoint, argv: Sequence[str]) -> int:
    try:
        command = cast("Command", point.load())
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pocketface"):
            raise
        room = point.value.split(".")[1]
        extra = "all" if room == "runtime" else room
        return _complain(
            f"pocketface {point.name}: expected the package '{error.name}', got an environment without it; "
            f"run: pip install 'pocketface[{extra}]'"
        )
    return run_command(command, f"pocketface {point.name}", argv)


def _overview(verbs: dict[str, EntryPoint]) -> str:
    lines = ["usage: pocketface VERB [arguments]   (pocketface VERB --help explains one)", ""]
    return "\n".join([*lines, *(f"  {name:<9} {SUMMARIES.get(name, '')}".rstrip() for name in verbs), ""])


# One line each, kept here so that the overview imports no verb (torch alone takes two seconds).
SUMMARIES = {
    "restore": "restore the faces in a photograph",
    "distill": "train a teacher, a student or an identity network from a recipe",
    "export": "write Core ML, TFLite and ONNX files as one bundle with a manifest",
    "verify": "prove that a bundle's files are whole and restore as the student does",
    "parity": "run teacher, student and every file of a bundle on the same faces; exit 1 beyond tolerance",
    "bench": "measure quality, latency, size; write one HTML page",
}


def _complain(message: str, code: int = USAGE_ERROR) -> int:
    sys.stderr.write(printable(message) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
