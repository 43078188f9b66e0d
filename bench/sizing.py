"""Where a batch's time went, and what a million photographs would take: computed from the records of a batch.

    python -m pocketface.bench.sizing OUT
    python -m pocketface.bench.sizing OUT --photos 1000000 --machine 'small 4 0.10' --machine 'large 64 1.60'
OUT is a folder that `pocketface restore FOLDER -o OUT` has written. A machine is a name, its cores and its price an
hour in whatever currency; those assumed without any are examples, not offers. Rates are of one core, from the processor
time of every photograph that was read, so that a busy machine measures the same as an idle one; stages share that time
as they shared the clock.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runtime.batch.journal import records_of
from ..runtime.batch.progress import duration
from ..runtime.batch.record import DONE, FileRecord
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError

PHOTOS = 1_000_000
# Of the ideal, for machines that wait for disks and each other; measure your own with --efficiency.
_EFFICIENCY = 0.85
_OTHER = "other"  # hashing, bookkeeping and stages that took less than a thousandth
_FORMULA = "hours = photos x core-seconds / (3600 x cores x machines x efficiency); cost = hours x machines x price"


@dataclass(frozen=True)
class Machine:
    """What can be hired.

    Args:
        name: for people.
        cores: that restore; threads that share a core count as one.
        price: an hour.
    """

    name: str
    cores: int
    price: float


MACHINES = (Machine("4 cores", 4, 0.17), Machine("16 cores", 16, 0.68), Machine("64 cores", 64, 2.72))


@dataclass(frozen=True)
class Throughput:
    """What was measured.

    Args:
        photos: that were read.
        faces: in them.
        megapixels: of the median photograph.
        core_seconds: mean processor time of a photograph.
        shares: stage -> share of the time.
        peak_mib: highest memory of a worker.
    """

    photos: int
    faces: int
    megapixels: float
    core_seconds: float
    shares: dict[str, float]
    peak_mib: float


def measure(records: Sequence[FileRecord]) -> Throughput:
    """Sum up the records of a batch.

    Raises:
        InputError: none of them is of a photograph that was read.
    """
    read = [record for record in records if record.status in DONE and record.cpu_seconds > 0]
    if not read:
        raise InputError("records of restored photographs", "none", "restore a folder first")
    stages: Counter[str] = Counter()
    for record in read:
        stages.update({stage: value for stage, value in record.seconds.items() if stage != "total"})
    total = sum(record.seconds["total"] for record in read)
    shares = {stage: value / total for stage, value in stages.items() if value >= 0.001 * total}
    shares[_OTHER] = 1 - sum(shares.values())
    return Throughput(
        photos=len(read),
        faces=sum(len(record.faces) for record in read),
        megapixels=statistics.median(record.width * record.height / 1e6 for record in read),
        core_seconds=statistics.fmean(record.cpu_seconds for record in read),
        shares=shares,
        peak_mib=max(record.rss_mib for record in read),
    )


def stage_table(found: Throughput) -> str:
    """Photographs a second by stage, as Markdown; a stage alone on one core would reach its rate."""
    lines = ["| stage | ms a photograph | share | photographs a second |", "|---|---|---|---|"]
    for stage, share in [*found.shares.items(), ("all", 1.0)]:
        seconds = share * found.core_seconds
        lines.append(f"| {stage} | {1000 * seconds:.1f} | {share:.0%} | {1 / seconds:.1f} |")
    return "\n".join(lines)


def sizing_table(found: Throughput, machines: Sequence[Machine], photos: int, efficiency: float) -> str:
    """What so many photographs would take on one machine, and how many machines would do it in a day, as Markdown."""
    core_hours = photos * found.core_seconds / 3600 / efficiency
    lines = [
        f"| machine | price an hour | photographs an hour | {photos:,} on one machine | machines for a day | cost |",
        "|---|---|---|---|---|---|",
    ]
    for machine in machines:
        hours = core_hours / machine.cores
        needed = math.ceil(hours / 24)
        lines.append(
            f"| {machine.name} | {machine.price:g} | {photos / hours:,.0f} | {duration(3600 * hours)} | {needed} "
            f"| {hours * machine.price:,.2f} |"
        )
    return "\n".join(lines)


def parse_machine(text: str) -> Machine:
    """A machine from `NAME CORES PRICE`.

    Raises:
        argparse.ArgumentTypeError: something else.
    """
    try:
        name, cores, price = text.rsplit(maxsplit=2)
        machine = Machine(name, int(cores), float(price))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected 'NAME CORES PRICE', got '{text}'") from error
    if machine.cores < 1 or not machine.price >= 0:
        raise argparse.ArgumentTypeError(f"expected at least one core and no negative price, got '{text}'")
    return machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="output folder of a batch")
    parser.add_argument("--photos", type=positive, default=PHOTOS, help="to size for (default: 1000000)")
    parser.add_argument("--machine", type=parse_machine, action="append", help="'NAME CORES PRICE'; may be repeated")
    parser.add_argument(
        "--efficiency", type=float, default=_EFFICIENCY, help="share of the ideal rate that is reached (default: 0.85)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print both tables."""
    if not 0 < arguments.efficiency <= 1 or arguments.photos < 1:
        raise InputError("an --efficiency in (0, 1] and a photograph", f"{arguments.efficiency:g}, {arguments.photos}")
    found = measure(list(records_of(arguments.folder)))
    sys.stdout.write(
        f"{found.photos} photographs of {found.megapixels:.2f} megapixels (median), {found.faces} faces; a worker took "
        f"{found.peak_mib:.0f} MiB at most.\n\n{stage_table(found)}\n\n"
        f"{sizing_table(found, arguments.machine or MACHINES, arguments.photos, arguments.efficiency)}\n\n{_FORMULA}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.sizing"))
