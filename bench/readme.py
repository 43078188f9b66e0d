"""Write measured tables into a Markdown file, between markers, so that no figure in it is typed by hand.

    pocketface bench BUNDLE --crops crops --judge judge.ckpt -o report
    python -m pocketface.bench.readme report/report.json README.md
Each table goes between `<!-- figures: NAME -->` and `<!-- end -->`, for NAME in validation, verification, parity,
latency, sizes, and front, restraint, looks, rivals and detection from the files of those commands. A marker without
figures in the report is an error: an old table must not stay behind as if it were new.
"""

from __future__ import annotations

import argparse
import json
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..runtime.atomic import replacing_file
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from .report import FORMAT

_MARKER = re.compile(r"(<!-- figures: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ABSENT = "-"
Rows: TypeAlias = list[list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("report", type=Path, help="report.json of `pocketface bench`")
    parser.add_argument("document", type=Path, help="Markdown file with markers")


def run(arguments: argparse.Namespace) -> int:
    """Replace every marked table."""
    report = read_report(arguments.report)
    text = arguments.document.read_text(encoding="utf-8")
    with replacing_file(arguments.document) as temporary:
        temporary.write_text(fill_tables(text, report), encoding="utf-8")
    return 0


def read_report(path: Path) -> dict[str, Any]:
    """Read the figures of a bench run.

    Raises:
        InputError: no such file, or another format.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("the report.json of a bench run", f"{path}: {error}") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise InputError(f"a file of the format {FORMAT}", str(path))
    return report


def fill_tables(text: str, report: Mapping[str, Any]) -> str:
    """Return the document with every marked table made anew.

    Raises:
        InputError: a marker of an unknown name, or one that the report has no figures for.
    """

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise InputError(f"a marker of {', '.join(TABLES)}", f"'{name}'")
        rows = TABLES[name](report)
        if len(rows) < 2:
            raise InputError(f"figures for the table '{name}'", "none in the report", "run bench with what they need")
        return f"{match[1]}{markdown(rows)}{match[3]}"

    return _MARKER.sub(replace, text)


def validation_rows(report: Mapping[str, Any]) -> Rows:
    """Method by level: PSNR, gain over the input, SSIM, sharpness, judge cosine, landmarks."""
    head = ["level", "", "PSNR dB", "gain dB", "SSIM", "sharpness", "judge cosine", "landmark error %", "not found %"]
    return [head, *(_score_row(score) for score in (report["quality"] or {}).get("scores", []))]


def verification_rows(report: Mapping[str, Any]) -> Rows:
    """Whether people are still found in a gallery of clean photographs."""
    head = ["level", "probes", "people", "rank 1", "TAR", "at FAR", "genuine cosine"]
    return [
        head,
        *(
            [
                found["level"],
                found["method"],
                str(found["people"]),
                *(_number(found[key], 3) for key in ("rank1", "tar")),
                f"{found['far']:g}",
                _number(found["genuine_cosine"], 3),
            ]
            for found in (report["quality"] or {}).get("verification", [])
        ),
    ]


def parity_rows(report: Mapping[str, Any]) -> Rows:
    """Each file against the PyTorch student, on the worst face; then the student against the teacher."""
    head = ["candidate", "engine", "verdict", "PSNR dB", "residual SNR dB", "max difference", "drift", "worst face"]
    return [head, *(_trial_row(trial, trial["report"] or {}) for trial in report["parity"])]


def latency_rows(report: Mapping[str, Any]) -> Rows:
    """Milliseconds a face, and the ratio to the PyTorch student in the same rounds."""
    head = ["candidate", "size", "threads", "median ms", "p90 ms", "times the PyTorch student"]
    return [
        head,
        *(
            [
                timing["label"],
                str(timing["size"]),
                str(timing["threads"]),
                *(_number(timing[key], 1) for key in ("median_ms", "p90_ms")),
                _number(timing["ratio"], 2),
            ]
            for timing in report["latency"]
            if timing["median_ms"] is not None
        ),
    ]


def size_rows(report: Mapping[str, Any]) -> Rows:
    """Bytes of each file, parameters and multiply-accumulates of each network."""
    return [["file", "bytes", "parameters", "GMAC at 256"], *(_size_row(size) for size in report["sizes"])]


TABLES: dict[str, Callable[[Mapping[str, Any]], Rows]] = {
    "validation": validation_rows,
    "verification": verification_rows,
    "parity": parity_rows,
    "latency": latency_rows,
    "sizes": size_rows,
}
# Tables that a command of their own has made ready, see `write_table`.
READY = ("front", "restraint", "looks", "rivals", "detection")
TABLES.update({name: operator.methodcaller("get", name, []) for name in READY})


def write_table(path: Path, name: str, rows: Rows, /, **facts: object) -> None:
    """Write a table that is ready, for this module to read again.

    Args:
        path: the JSON file.
        name: of READY.
        rows: the head first.
        facts: what else the file shall say.

    Raises:
        OutputError: the place cannot be written to.
    """
    text = json.dumps({"format": FORMAT, **facts, name: rows}, indent=1)
    with replacing_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _score_row(score: Mapping[str, Any]) -> list[str]:
    gain = f"{score['gain_db']['mean']:+.2f} ± {_number(score['gain_db']['error'], 2)}"
    return [
        score["level"],
        score["method"],
        _number(score["psnr_db"]["mean"], 2),
        _ABSENT if score["method"] == "input" else gain,
        _number(score["ssim"]["mean"], 3),
        _number(_mean(score["sharpness"]), 3),
        _number(_mean(score["cosine"]), 3),
        _number(_mean(score["landmark_error"], 100), 2),
        _ABSENT if score["not_found"] is None else _number(100 * score["not_found"], 1),
    ]


def _trial_row(trial: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        trial["label"],
        trial["engine"],
        trial["verdict"],
        _number(found.get("min_psnr_db"), 1),
        _number(found.get("min_residual_snr_db"), 1),
        _significant(found.get("max_abs")),
        _significant(found.get("max_identity_drift")),
        found.get("worst_face", _ABSENT),
    ]


def _size_row(size: Mapping[str, Any]) -> list[str]:
    macs = size["macs"].get("256")
    parameters = _ABSENT if size["parameters"] is None else f"{size['parameters']:,}"
    return [size["label"], f"{size['bytes']:,}", parameters, _number(macs and macs / 1e9, 2)]


def _mean(figure: Mapping[str, float] | None, scale: float = 1.0) -> float | None:
    return None if figure is None else scale * figure["mean"]


def _number(value: float | None, digits: int) -> str:
    return _ABSENT if value is None else f"{value:.{digits}f}"


def _significant(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.2g}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows, the first of them the head, as a Markdown table."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "|" + "---|" * len(rows[0])
    return "\n".join([head, rule, *body, ""])


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.readme"))
