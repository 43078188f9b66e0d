"""Tables from records: the arithmetic, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pocketface.bench import sizing
from pocketface.bench.sizing import Machine, measure, parse_machine, sizing_table, stage_table
from pocketface.runtime.batch.record import FileRecord
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import InputError


def record(name: str, cpu: float = 0.5, status: str = "restored") -> FileRecord:
    seconds = {"decode": 0.2, "detect": 0.6, "grade": 0.0, "total": 1.0}
    return FileRecord(
        name, status, width=2000, height=1000, faces=[{}], seconds=seconds, cpu_seconds=cpu, rss_mib=100.0
    )


def test_stages_share_the_processor_time_as_they_share_the_clock() -> None:
    found = measure([record("a"), record("b", cpu=1.5), record("c", status="failed")])
    assert (found.photos, found.faces, found.megapixels, found.core_seconds) == (2, 2, 2.0, 1.0)
    assert found.shares == pytest.approx({"decode": 0.2, "detect": 0.6, "other": 0.2})
    table = stage_table(found).splitlines()
    assert table[2] == "| decode | 200.0 | 20% | 5.0 |"
    assert table[-1] == "| all | 1000.0 | 100% | 1.0 |"


def test_a_million_photographs_cost_what_the_formula_says() -> None:
    found = measure([record("a", cpu=0.36)])
    row = sizing_table(found, [Machine("box", 10, 0.5)], 1_000_000, 0.5).splitlines()[-1]
    # 1e6 x 0.36 s / 0.5 = 200 core-hours; 10 cores take 20 hours and 10 units of money.
    assert row == "| box | 0.5 | 50,000 | 20.0 h | 1 | 10.00 |"
    assert "| 2 | " in sizing_table(found, [Machine("slow", 5, 0.5)], 1_000_000, 0.5)


def test_a_machine_is_three_words() -> None:
    assert parse_machine("c7 large 2 0.08") == Machine("c7 large", 2, 0.08)
    for text in ("box", "box many 1", "box 0 1", "box 1 -1", "box 1 nan"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_machine(text)


def test_the_command_reads_a_batchs_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [record("a", cpu=9.0), record("a"), record("b")]  # the last record of a name counts
    (tmp_path / "pocketface.jsonl").write_text("".join(one.to_line() for one in lines), encoding="ascii")
    assert run_command(sizing, "sizing", [str(tmp_path), "--machine", "box 1 1", "--photos", "3600"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 photographs of 2.00 megapixels")
    assert "| box | 1 | 6,120 |" in said  # 3600 / 0.5 s x 0.85
    assert run_command(sizing, "sizing", [str(tmp_path), "--efficiency", "0"]) == 2
    assert run_command(sizing, "sizing", [str(tmp_path / "none")]) == 2


def test_no_photograph_no_figure() -> None:
    with pytest.raises(InputError, match="records"):
        measure([record("a", status="failed")])
