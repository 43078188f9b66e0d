"""What the identity commands write: the same JSON for both, and who the networks were, by the hash of their weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runtime.atomic import replacing_file
from ..runtime.errors import InputError, OutputError
from ..runtime.manifest import hash_artefact
from ..runtime.weights import find_checkpoint

FORMAT = "pocketface-identity-1"


def name_networks(networks: Sequence[str]) -> dict[str, str]:
    """Label -> network for tables: shipped names as they are, files by their name.

    Raises:
        InputError: two of the same label.
    """
    labels = [Path(network).name if Path(network).suffix else network for network in networks]
    double = next((label for label in labels if labels.count(label) > 1), None)
    if double is not None:
        raise InputError("networks of different names", f"'{double}' twice", "rename a copy")
    return dict(zip(labels, networks, strict=True))


def hash_network(network: str) -> str:
    """sha256 of the weights behind a name or path that `open_judge` or `open_restorer` opens."""
    if network == "dlib":
        from ..runtime.models.dlib_resnet import find_dlib_weights  # torch takes seconds; --help should not

        return hash_artefact(find_dlib_weights())
    return hash_artefact(find_checkpoint(network))


def write_figures(path: Path, facts: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> None:
    """Write figures whole or not at all.

    Args:
        path: JSON file.
        facts: what all rows have in common: command, hashes, data.
        rows: JSON values, one a line of the table.

    Raises:
        OutputError: the place cannot be written to.
    """
    head = json.dumps({"format": FORMAT, **facts}, indent=1, allow_nan=False).removesuffix("\n}")
    body = ",\n".join("  " + json.dumps(row, allow_nan=False) for row in rows)  # a row a line, its histogram included
    write_text(path, f'{head},\n "rows": [\n{body}\n ]\n}}\n')


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        OutputError: the place cannot be written to.
    """
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_output(path: Path | None) -> None:
    """Find out before minutes of work that a file cannot be written.

    Raises:
        OutputError: a folder of that name.
    """
    if path is not None and path.is_dir():
        raise OutputError("a file to write", f"the folder {path}", "add a file's name")
