"""`pocketface restore` for folders, patterns and several files: arguments, identity, exit code."""

from __future__ import annotations

import argparse
import dataclasses
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..cli import printable
from ..encode import FORMATS, format_for
from ..errors import InputError, OutputError
from ..faces.detect import DEFAULT as DEFAULT_DETECTOR
from ..manifest import hash_artefact
from ..options import PhotoOptions
from ..weights import SHIPPED, find_checkpoint
from .journal import Journal, count_statuses, identity_hash, still_done, still_lost
from .listing import list_inputs, refuse_collisions
from .local import Places, run_local
from .progress import Progress, told
from .record import LOST, Entry, FileRecord, below, settled
from .stores import Store, is_url
from .work import Restoration

ENGINES = ("local", "ray")
SOME_FAILED = 1
_TIMEOUT = 300.0
_MOST_THREADS, _MOST_WORKERS = 1024, 100_000
_FILE_OPTIONS = ("reference", "upscaler", "colouriser")


def output_place(text: str) -> Path | Store:
    """What `-o` means: a path, or a far place by its URL."""
    return Store(text.rstrip("/")) if is_url(text) else Path(text)


def is_batch(inputs: Sequence[str | Path], output: Path | Store) -> bool:
    """Whether what the user named is more than one photograph: several names, a folder, a pattern, or a far place."""
    names = [str(name) for name in inputs]
    if len(names) != 1 or isinstance(output, Store) or is_url(names[0]):
        return True
    return os.path.isdir(names[0]) or (glob.has_magic(names[0]) and not os.path.lexists(names[0]))  # noqa: PTH112


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what only a batch needs; inputs, output, model and looks are the single photograph's."""
    group = parser.add_argument_group("folders, patterns and several files", "the output is then a folder")
    group.add_argument("--workers", type=int, help="processes, one engine thread each (default: one a CPU core)")
    group.add_argument("--timeout", type=float, default=_TIMEOUT, metavar="S", help="a photograph (default: 300)")
    group.add_argument("--suffix", default="", help="of every output, for example .png (default: each input's own)")
    group.add_argument("--retry", action="store_true", help="try again what failed in an earlier run")
    group.add_argument("--start-over", action="store_true", help="forget earlier runs and write over their outputs")
    group.add_argument("--engine", choices=ENGINES, default="local", help="local processes (default) or a Ray cluster")
    group.add_argument("--records", type=Path, metavar="FOLDER", help="where the records stand if the output is a URL")
    group.add_argument("--cluster", metavar="ADDRESS", help="of Ray (default: RAY_ADDRESS, else one on this machine)")
    group.add_argument("--gpus", type=float, default=0.0, help="of each Ray worker; 0.5: two share one (default: 0)")
    group.add_argument("--quiet", action="store_true", help="name failures only")


def check_threads(threads: int) -> None:
    """Refuse a number of engine threads that no machine has.

    Raises:
        InputError: less than 1, or so many that starting them would end the process.
    """
    if not 1 <= threads <= _MOST_THREADS:
        raise InputError(f"--threads of at least 1, and at most {_MOST_THREADS}", str(threads))


def run_batch(arguments: argparse.Namespace, inputs: Sequence[str | Path], options: PhotoOptions) -> int:
    """Restore many photographs; the exit code is 0 where all went well and 1 where some failed.

    Args:
        arguments: with `output`, `model`, `detector`, `device`, `threads` and those of `add_arguments`.
        inputs: folders, patterns, files.
        options: what to do with each photograph.

    Raises:
        PocketFaceError: nothing to do, a place that cannot be written to, or a model that cannot be opened.
    """
    _check(arguments)
    identity = _identify(arguments, options)
    restoration = _restoration(arguments, options, identity_hash(identity))
    output = arguments.output if isinstance(arguments.output, Store) else arguments.output.absolute()
    root, entries = _list([str(one) for one in inputs], output, arguments.suffix)
    refuse_collisions(entries, fold_case=False)  # before a folder is begun, and again when its disk is known
    folder = arguments.records if isinstance(output, Store) else output
    with Journal(folder, identity, start_over=arguments.start_over) as journal:
        refuse_collisions(entries, fold_case=_folds_case(journal.private) and not isinstance(output, Store))
        places = Places(root, output, journal.private / "work" / f"{os.getpid()}", journal.private / "logs")
        todo = _todo(entries, journal, output, retry=arguments.retry)
        progress = Progress(len(todo), len(entries) - len(todo), quiet=arguments.quiet)
        for record in _run(todo, places, restoration, arguments):
            journal.add(record)
            progress.add(record)
        progress.close()
        statuses = count_statuses(journal.known[entry.name] for entry in entries)
        journal.summarise(progress.summary(statuses))
    earlier = f"; {len(entries) - len(todo)} settled before" if len(todo) < len(entries) else ""
    place = output.url if isinstance(output, Store) else output
    sys.stdout.write(printable(f"{place}: {told(statuses)}{earlier}") + "\n")
    return SOME_FAILED if any(statuses.get(status) for status in LOST) else 0


def _list(inputs: Sequence[str], output: Path | Store, suffix: str) -> tuple[Path | Store, list[Entry]]:
    far = [name for name in inputs if is_url(name)]
    if far:
        root = Store(inputs[0].rstrip("/"))
        if len(inputs) > 1:
            raise InputError("one URL of a folder", f"{len(inputs)} inputs", "restore one after the other")
        if isinstance(output, Store) and f"{root.url}/".startswith(f"{output.url}/"):
            raise InputError("inputs outside the output folder", root.url, "choose another output folder")
        return root, root.entries(suffix)
    # A far output lies in no folder of this machine.
    here = Path(os.devnull) if isinstance(output, Store) else output
    return list_inputs(inputs, here, suffix)


def _run(
    todo: Sequence[Entry], places: Places, restoration: Restoration, arguments: argparse.Namespace
) -> Iterator[FileRecord]:
    yield from (settled(entry) for entry in todo if entry.status)
    work = [entry for entry in todo if not entry.status]
    workers = arguments.workers or _default_workers(arguments.device)
    if not work:
        return
    if arguments.engine == "ray":
        from .cluster import run_ray

        limits = {"workers": workers, "timeout": arguments.timeout}
        yield from run_ray(work, places, restoration, **limits, address=arguments.cluster, gpus=arguments.gpus)
        return
    yield from run_local(work, places, restoration, workers=workers, timeout=arguments.timeout)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse before any work what cannot end well."""
    if arguments.workers is not None and not 1 <= arguments.workers <= _MOST_WORKERS:
        raise InputError(f"--workers of at least 1, and at most {_MOST_WORKERS}", str(arguments.workers))
    if arguments.threads is not None:
        check_threads(arguments.threads)
    if not arguments.timeout > 0:
        raise InputError("a --timeout above 0 s", f"{arguments.timeout:g}")
    if not arguments.gpus >= 0:
        raise InputError("--gpus of at least 0", f"{arguments.gpus:g}")
    if arguments.engine != "ray" and (arguments.cluster or arguments.gpus):
        raise InputError("--cluster and --gpus with --engine ray", f"--engine {arguments.engine}")
    if arguments.suffix:
        format_for(arguments.suffix)
    far = isinstance(arguments.output, Store)
    if far != (arguments.records is not None):
        raise InputError("--records FOLDER with an output URL, and only then", "one of the two")
    if arguments.engine != "ray" and (far or any(is_url(name) for name in arguments.photos)):
        raise InputError("--engine ray for URLs", f"--engine {arguments.engine}")
    if not far and arguments.output.exists() and not arguments.output.is_dir():
        raise InputError("an output folder for several photographs", f"the file {arguments.output}", "name a folder")
    if not far and arguments.output.suffix.lower() in FORMATS and not arguments.output.is_dir():
        got = f"a photograph's name, {arguments.output}"
        raise InputError("an output folder for several photographs", got, "name a folder, or give one photograph")
    if getattr(arguments, "json", None) is not None:
        raise InputError("--json for one photograph", "several", "leave it out: the output folder holds all records")


def _identify(arguments: argparse.Namespace, options: PhotoOptions) -> dict[str, Any]:
    """Everything that decides the outputs; files count by their content."""
    model = find_checkpoint(arguments.model)
    if not model.exists():
        raise InputError("a model's file", f"nothing at {model}")
    named = {name: getattr(options, name) for name in _FILE_OPTIONS}
    named["detector"] = None if arguments.detector == DEFAULT_DETECTOR else Path(arguments.detector)
    for path in named.values():
        if path is not None and not path.is_file():
            raise InputError("a file", f"nothing at {path}")
    return {
        "pocketface": version("pocketface"),
        "model": hash_artefact(model),
        "device": arguments.device,
        "suffix": arguments.suffix,
        "files": {name: hash_artefact(path) for name, path in named.items() if path is not None},
        "options": {name: value for name, value in options.to_json().items() if name not in _FILE_OPTIONS},
    }


def _restoration(arguments: argparse.Namespace, options: PhotoOptions, options_sha256: str) -> Restoration:
    """With absolute paths: other machines' workers stand elsewhere."""
    given = {name: getattr(options, name) for name in _FILE_OPTIONS}
    absolute = {name: path.absolute() for name, path in given.items() if path is not None}
    detector = arguments.detector
    return Restoration(
        arguments.model if arguments.model in SHIPPED else str(Path(arguments.model).absolute()),
        detector if detector == DEFAULT_DETECTOR else str(Path(detector).absolute()),
        arguments.device,
        arguments.threads or 1,
        dataclasses.replace(options, **absolute),
        options_sha256,
    )


def _todo(entries: Sequence[Entry], journal: Journal, output: Path | Store, *, retry: bool) -> list[Entry]:
    """What an earlier run has not settled, or what has changed since."""
    far = output.sizes() if isinstance(output, Store) else {}
    if far and not journal.known and not journal.start_over:
        fix = "choose another place, name the records of its batch, or add --start-over to write over what is there"
        raise OutputError("an empty place, or one that a batch began", f"{len(far)} objects there", fix)

    def size_of(name: str) -> int:
        if isinstance(output, Store):
            return far.get(name, -1)
        try:
            return below(output, name).stat().st_size
        except OSError:
            return -1

    def needed(entry: Entry) -> bool:
        known = journal.known.get(entry.name)
        if entry.status:
            return known is None or known.status != entry.status
        if still_lost(entry, known):
            return retry
        return not still_done(entry, known, size_of)

    return [entry for entry in entries if needed(entry)]


def _folds_case(folder: Path) -> bool:
    """Whether the disk takes names that differ in case for one."""
    return folder.with_name(folder.name.upper()).exists()


def _default_workers(device: str) -> int:
    if device not in ("auto", "cpu"):  # they would share one GPU's memory
        return 1
    cores = getattr(os, "sched_getaffinity", None)
    return len(cores(0)) if cores else os.cpu_count() or 1
