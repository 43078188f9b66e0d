"""How fast training runs, where a step's time goes, and what each speed-up is worth.

`python -m pocketface.bench.throughput teacher_fidelity_cpu --crops CROPS --variants plain compile plain -o table.json`
takes some steps of a recipe's last stage in a process of its own for every variant, in the order given: name `plain`
first and last to see how steady the machine is. Times are medians over the steps after the first few.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from ..distill.clock import SECTIONS
from ..distill.command import open_fabric
from ..distill.faces import load_crops, read_crops
from ..distill.recipe import Recipe, read_recipe
from ..distill.trainer import Progress, Speed, Trainer
from ..runtime.atomic import replacing_file
from ..runtime.cli import positive, run_module

_MIB = 2**20
# The first steps fill caches and, where asked for, compile.
WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Variant:
    """A way to run the same steps.

    Args:
        speed: settings of the trainer.
        precision: `32-true` or `bf16-mixed`.
        threads: CPU threads; None for as many as asked for on the command line.
    """

    speed: Speed
    precision: str = "32-true"
    threads: int | None = None


VARIANTS: dict[str, Variant] = {
    "plain": Variant(Speed(ahead=False, exact_clock=True)),
    "ahead": Variant(Speed(ahead=True, exact_clock=True)),
    "channels-last": Variant(Speed(ahead=False, exact_clock=True, channels_last=True)),
    "compile": Variant(Speed(ahead=False, exact_clock=True, compiled=True)),
    "bf16": Variant(Speed(ahead=False, exact_clock=True), "bf16-mixed"),
    "all": Variant(Speed(compiled=True, channels_last=True, exact_clock=True), "bf16-mixed"),
    "one-thread": Variant(Speed(ahead=False, exact_clock=True), threads=1),
    "two-threads": Variant(Speed(ahead=False, exact_clock=True), threads=2),
}


@dataclass(frozen=True)
class Throughput:
    """What was measured of one variant.

    Args:
        variant: a name of VARIANTS.
        device: where it ran.
        steps: timed.
        batch, crop: faces a step, and their side.
        faces_per_second: median over the steps.
        shares: of a step's time, by section; what is missing from 1 is bookkeeping.
        peak_mib: highest memory of the process, or of the GPU where one was used.
        gpu_percent: mean utilisation while the steps ran; None without a GPU, or where nvidia-smi is absent.
    """

    variant: str
    device: str
    steps: int
    batch: int
    crop: int
    faces_per_second: float
    shares: dict[str, float]
    peak_mib: float
    gpu_percent: float | None


def measure(
    name: str, recipe: Recipe, crops: Path, steps: int, *, device: str = "cpu", threads: int | None = None
) -> Throughput:
    """Take warm-up steps and then `steps` steps of the recipe's last stage in a temporary folder."""
    variant = VARIANTS[name]
    if (chosen := variant.threads or threads) is not None:
        torch.set_num_threads(chosen)
    stage = dataclasses.replace(recipe.stages[-1], steps=WARM_UP_STEPS + steps)
    faces = torch.from_numpy(load_crops(crops, read_crops(crops, "train")))
    seen: list[Progress] = []
    with tempfile.TemporaryDirectory() as folder:
        fabric = open_fabric(device, variant.precision)
        short = dataclasses.replace(recipe, stages=(stage,))
        loop = Trainer(short, faces, Path(folder), fabric, {}, variant.speed)
        loop.run(lambda _: None, steps + WARM_UP_STEPS, until=WARM_UP_STEPS)
        with _GpuWatch(active=fabric.device.type == "cuda") as watch:
            loop.run(seen.append, steps + WARM_UP_STEPS)
    shares = {section: statistics.median(_share(step, section, stage.batch) for step in seen) for section in SECTIONS}
    speed = statistics.median(step.faces_per_second for step in seen)
    peak = torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else _peak_bytes()
    return Throughput(
        name, str(fabric.device), steps, stage.batch, stage.crop, speed, shares, peak / _MIB, watch.percent
    )


def _share(step: Progress, section: str, batch: int) -> float:
    return step.seconds[section] * step.faces_per_second / batch


def _peak_bytes() -> int:
    import resource  # absent on Windows, where only the rest of this module works

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _GpuWatch:
    """Asks nvidia-smi for the first GPU's utilisation twice a second while the block runs."""

    def __init__(self, *, active: bool) -> None:
        self._tool = shutil.which("nvidia-smi") if active else None
        self._done = threading.Event()
        self._seen: list[float] = []
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _GpuWatch:
        if self._tool is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._tool is not None:
            self._thread.join()

    @property
    def percent(self) -> float | None:
        """Mean utilisation."""
        return statistics.mean(self._seen) if self._seen else None

    def _look(self) -> None:
        query = [str(self._tool), "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
        while not self._done.wait(0.5):
            answer = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
            if answer.returncode == 0:
                self._seen.append(float(answer.stdout))


def in_own_process(run: Callable[..., Throughput], *given: object, **named: object) -> Throughput:
    """Run in a fresh process, so that neither memory nor thread settings carry over."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *given, **named).result()


def markdown(rows: list[Throughput]) -> str:
    """The table for people; ratios are to the first row."""
    first = rows[0].faces_per_second
    sections = [section for section in SECTIONS if any(row.shares[section] > 0 for row in rows)]
    lines = [
        f"| variant | faces/s | ratio | {' | '.join(sections)} | peak MiB | GPU |",
        "|---" * (5 + len(sections)) + "|",
    ]
    for row in rows:
        shares = " | ".join(f"{row.shares[section]:.0%}" for section in sections)
        gpu = "-" if row.gpu_percent is None else f"{row.gpu_percent:.0f} %"
        ratio = row.faces_per_second / first
        lines.append(
            f"| {row.variant} | {row.faces_per_second:.2f} | {ratio:.2f} | {shares} | {row.peak_mib:.0f} | {gpu} |"
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("recipe", help="a shipped recipe's name or a .toml file")
    parser.add_argument("--crops", type=Path, required=True, help="folder of aligned crops with crops.csv")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=["plain"], metavar="NAME")
    parser.add_argument("--steps", type=positive, default=10, help="timed steps a variant (default: 10)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's choice)")
    parser.add_argument("--output", "-o", type=Path, help="JSON file to write")


def run(arguments: argparse.Namespace) -> int:
    """Measure each variant and print the table."""
    recipe, rows = read_recipe(arguments.recipe), list[Throughput]()
    for name in arguments.variants:
        rows.append(
            in_own_process(
                measure,
                name,
                recipe,
                arguments.crops,
                arguments.steps,
                device=arguments.device,
                threads=arguments.threads,
            )
        )
        sys.stderr.write(f"{name}: {rows[-1].faces_per_second:.2f} faces/s\n")
    sys.stdout.write(markdown(rows) + "\n")
    if arguments.output is not None:
        with replacing_file(arguments.output) as temporary:
            content = {"recipe": arguments.recipe, "rows": [dataclasses.asdict(row) for row in rows]}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.throughput"))
