"""Name every node of a device file that a mobile accelerator is known to refuse, or to run badly.

    python -m pocketface.export.lint student.tflite student.onnx student.mlpackage --histogram

Reads any `.tflite`, `.onnx` or `.mlpackage`, ours or not. The rules are those that the delegates' own sources and
documents state; where in the network a node comes from is said too. Exit code 1 where a node is refused or slow.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.atomic import replacing_file
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from .lint_graph import REFUSED, SEVERITIES, SLOW, Finding, find

READERS = {".tflite": "lint_tflite", ".onnx": "lint_onnx", ".mlpackage": "lint_coreml"}
# TFLite's own Hexagon delegate was retired for Qualcomm's: whoever still ships it asks for it by name.
_ON_REQUEST = ("hexagon-hvx",)
NAMES = ("gpu", "nnapi", "hexagon", "xnnpack", "coreml", "qnn", "ane", *_ON_REQUEST)


@dataclass(frozen=True)
class LintReport:
    """What the delegates think of one file.

    Args:
        file: its name.
        operations: kind -> how often, constants and their decoding left out.
        judged: names of the delegates that it was held against.
        declined: delegate -> why the whole file is not for it.
        findings: node by node; empty where nothing is wrong.
    """

    file: str
    operations: dict[str, int]
    judged: tuple[str, ...]
    declined: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether every delegate that the file is for runs all of it, and well."""
        return not any(finding.severity in (REFUSED, SLOW) for finding in self.findings)

    def count(self, severity: str) -> int:
        """How many nodes have a finding of a severity."""
        return len({finding.node for finding in self.findings if finding.severity == severity})


def lint(path: Path, delegates: Sequence[str] | None = None) -> LintReport:
    """Hold one file against the delegates for its format.

    Args:
        path: a `.tflite` or `.onnx` file, or an `.mlpackage`.
        delegates: of NAMES; None takes all that are in use.

    Raises:
        InputError: a suffix that is none of these, nothing there, or an unknown delegate.
        BackendError, BundleError: a damaged file.
    """
    if path.suffix not in READERS or not path.exists():
        raise InputError(f"a file ending in {', '.join(READERS)}", f"{path}")
    unknown = sorted(set(delegates or ()) - set(NAMES))
    if unknown:
        raise InputError(f"delegates of {', '.join(NAMES)}", ", ".join(unknown))
    reader: Any = importlib.import_module(f".{READERS[path.suffix]}", __package__)
    graph = reader.read_graph(path)
    asked = [one for one in reader.DELEGATES if (one.name in delegates if delegates else one.name not in _ON_REQUEST)]
    declined = {one.name: one.declines(graph) for one in asked if one.declines(graph)}
    judged = [one for one in asked if one.name not in declined]
    findings = [finding for one in judged for finding in find(graph, one)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    names = tuple(one.name for one in judged)
    return LintReport(path.name, dict(graph.histogram().most_common()), names, declined, tuple(findings))


def summary(report: LintReport) -> str:
    """One line for people: clean for whom, or how many nodes are not."""
    if report.clean:
        whom = ", ".join(report.judged) or "no delegate that was asked"
        return f"clean for {whom}"
    return f"{report.count(REFUSED)} nodes refused, {report.count(SLOW)} slow"


def histogram_table(reports: Iterable[LintReport]) -> str:
    """Markdown: one row a kind of operation, one column a file."""
    reports = list(reports)
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report.operations)
    rows = [["operation", *(report.file for report in reports)]]
    rows += [[kind, *(str(report.operations.get(kind, "")) for report in reports)] for kind, _ in total.most_common()]
    rows.append(["all", *(str(sum(report.operations.values())) for report in reports)])
    for severity in (REFUSED, SLOW):
        rows.append([f"nodes {severity}", *(str(report.count(severity)) for report in reports)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", nargs="+", type=Path, help=".tflite and .onnx files, .mlpackage folders")
    parser.add_argument("--delegates", nargs="+", choices=NAMES, help="default: all but hexagon-hvx, which is retired")
    parser.add_argument("--histogram", action="store_true", help="how often each operation occurs, as a Markdown table")
    parser.add_argument("--json", type=Path, help="write the reports here too")


def run(arguments: argparse.Namespace) -> int:
    """Lint, print what is wrong, and return the exit code."""
    reports = [lint(path, arguments.delegates) for path in arguments.files]
    for report in reports:
        sys.stdout.write(_page(report))
    if arguments.histogram:
        sys.stdout.write("\n" + histogram_table(reports))
    if arguments.json is not None:
        content = [{"clean": report.clean, **dataclasses.asdict(report)} for report in reports]
        with replacing_file(arguments.json) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0 if all(report.clean for report in reports) else 1


def _page(report: LintReport) -> str:
    lines = [f"{report.file}: {summary(report)}"]
    lines += [f"  {name}: not for it: {reason}" for name, reason in report.declined.items()]
    lines += [f"  {_line(finding)}" for finding in report.findings]
    return "\n".join(lines) + "\n"


def _line(finding: Finding) -> str:
    where = f" {finding.kind} {finding.node} (module {finding.module or 'top level'})" if finding.node else ""
    return f"{finding.delegate} {finding.severity}:{where} {finding.reason} [{finding.source}]"


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.export.lint"))
