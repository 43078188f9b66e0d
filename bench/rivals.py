"""How much faster than what a user would pick instead, and how near to what the machine can do, in one interleaved run.

    python -m pocketface.bench.rivals --make gfpgan.onnx      # needs spandrel: GFPGAN's architecture, random weights
    python -m pocketface.bench.rivals base=student-base gfpgan=gfpgan.onnx -o rivals.json
    python -m pocketface.bench.readme rivals.json docs/rivals.md
A checkpoint of ours among the candidates is written as ONNX and as TFLite of the size asked for; any other file is
timed as it is. Speed does not depend on weights. Among the candidates a product of two matrices is timed: its speed is
what a network of nothing but large 1x1 convolutions could reach. One thread. Candidates take turns of half a second or
one call, whichever is longer, so that neighbours on the machine slow all of them alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..export.deploy_graph import build_deploy_graph
from ..export.to_onnx import write_onnx
from ..export.to_tflite import write_tflite
from ..runtime.atomic import replacing_file
from ..runtime.cli import positive, run_module
from ..runtime.errors import BackendError, InputError
from ..runtime.models.checkpoint import load_model
from ..runtime.restorer import Faces, Restorer, RestorerInfo
from .candidates import Candidate, locate, named_candidates
from .latency import Timing, time_candidates
from .readme import markdown, write_table
from .size import count_macs

GEMM_SIDE = 1024
PRODUCT = "matrix product"
_GIGA = 1e9
_TURN = 0.5  # seconds
_SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite"}


@dataclass(frozen=True)
class Raced:
    """One candidate's result.

    Args:
        label: of the candidate, and the format it was written in.
        median_ms: of one face.
        gmac: multiply-accumulates of one face, 10^9; None where the file does not tell.
        gflops: reached, 2 * gmac a second.
        share: of the matrix product's speed in the same run.
        ratio: of its time to the first candidate's, median over the rounds.
    """

    label: str
    median_ms: float
    gmac: float | None
    gflops: float | None
    share: float | None
    ratio: float


def make_gfpgan(path: Path) -> None:
    """Write GFPGAN v1.4's architecture with seeded random weights as ONNX, with the side file that states its range.

    Raises:
        BackendError: spandrel, which carries the architecture, is not installed.
    """
    try:
        architecture = importlib.import_module("spandrel.architectures.GFPGAN").GFPGAN  # an extra
    except ImportError as error:
        raise BackendError("spandrel", str(error), "run: pip install 'pocketface[teachers]'") from error

    class Deterministic(torch.nn.Module):
        """Without the noise that GFPGAN draws, and its first output alone."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.network: Any = architecture()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.network(image, randomize_noise=False)[0]

    with replacing_file(path) as temporary, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter's remarks on somebody else's network
        torch.onnx.export(
            Deterministic().eval(), (torch.rand(1, 3, 512, 512),), str(temporary), dynamo=False, opset_version=17,
            input_names=["image"], output_names=["restored"],
        )  # fmt: skip
    with replacing_file(path.with_name(path.name + ".json")) as temporary:
        temporary.write_text(json.dumps({"range": [-1, 1]}) + "\n", encoding="utf-8")


def entries(candidates: Sequence[Candidate], size: int, folder: Path) -> tuple[list[Candidate], dict[str, float]]:
    """Turn checkpoints into device files of one size, and count their work.

    Returns:
        What to time, and multiply-accumulates by label where they are known.
    """
    found, macs = list[Candidate](), dict[str, float]()
    for candidate in candidates:
        file = locate(candidate.path)
        if file.suffix != ".safetensors":
            found.append(candidate)
            continue
        model, _ = load_model(file, "student")
        graph = build_deploy_graph(model)
        for kind, suffix in _SUFFIXES.items():
            label, path = f"{candidate.label} {kind}", folder / f"{candidate.label}{suffix}"
            if kind == "onnx":
                write_onnx(graph, size, "fp32", path)
            else:
                write_tflite(graph, size, "fp32", path)
            found.append(Candidate(label, str(path), device="cpu"))
            macs[label] = count_macs(model, size)
    return found, macs


class Product:
    """A product of two square matrices, in the clothes of a restorer, so that it is timed among them."""

    info = RestorerInfo("product", "torch", "cpu", None, 1, GEMM_SIDE, "")

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self._one, self._other = (torch.rand(GEMM_SIDE, GEMM_SIDE, generator=generator) for _ in range(2))

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:  # noqa: ARG002 - the contract's
        """Multiply; the faces come back as they are."""
        torch.mm(self._one, self._other)
        return faces


@dataclass(frozen=True)
class ProductCandidate(Candidate):
    """The matrix product as a candidate."""

    def open(self, *, threads: int | None = None) -> Restorer:
        """Return it; PyTorch has one thread setting for the whole process."""
        torch.set_num_threads(threads or 1)
        return Product()


def race(candidates: Sequence[Candidate], size: int, rounds: int) -> tuple[list[Raced], float]:
    """Time candidates in turn, with the matrix product among them.

    Returns:
        One result a candidate, and the product's GFLOP/s.

    Raises:
        InputError: a candidate that does not run on faces of this size.
    """
    face: Faces = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        files, macs = entries(candidates, size, Path(folder))
        files.append(ProductCandidate(PRODUCT, ""))
        found = time_candidates(
            files, face, threads=1, baseline=files[0].label, rounds=rounds, seconds=1e9, turn_seconds=_TURN
        )
    timed = {timing.label: timing for timing in found}
    peak = 2 * GEMM_SIDE**3 / (_milliseconds(PRODUCT, timed) / 1e3) / _GIGA
    return [_result(file.label, timed, macs.get(file.label), peak) for file in files if file.label != PRODUCT], peak


def _milliseconds(label: str, timed: Mapping[str, Timing]) -> float:
    median = timed[label].median_ms if label in timed else None
    if median is None:
        reason = timed[label].error if label in timed else "another fixed size"
        raise InputError(f"{label} to run on faces of this size", reason)
    return median


def _result(label: str, timed: Mapping[str, Timing], macs: float | None, peak: float) -> Raced:
    milliseconds, ratio = _milliseconds(label, timed), timed[label].ratio or 1.0
    if macs is None:
        return Raced(label, milliseconds, None, None, None, ratio)
    gflops = 2 * macs / (milliseconds / 1e3) / _GIGA
    return Raced(label, milliseconds, macs / _GIGA, gflops, gflops / peak, ratio)


def rows_of(results: Sequence[Raced], peak: float) -> list[list[str]]:
    """The table; the last column is the time against the first candidate's."""
    rows = [["candidate", "ms", "GMAC", "GFLOP/s", "share of the matrix product", "times the first"]]
    for one in results:
        numbers = [
            "-" if value is None else form.format(value)
            for value, form in ((one.gmac, "{:.2f}"), (one.gflops, "{:.1f}"), (one.share, "{:.0%}"))
        ]
        rows.append([one.label, f"{one.median_ms:.1f}", *numbers, f"{one.ratio:.2f}"])
    return [*rows, [f"{PRODUCT} {GEMM_SIDE}", "-", "-", f"{peak:.1f}", "100%", "-"]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "candidates", nargs="*", metavar="LABEL=FILE", help="checkpoints of ours, or anything that restores"
    )
    parser.add_argument(
        "--make", type=Path, metavar="FILE", help="write GFPGAN's architecture with random weights, and stop"
    )
    parser.add_argument("--size", type=positive, default=512, help="pixels a side (default: 512)")
    parser.add_argument("--rounds", type=positive, default=5, help="of all candidates in turn (default: 5)")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make the rival, or race."""
    if arguments.make is not None:
        make_gfpgan(arguments.make)
        return 0
    candidates = named_candidates(arguments.candidates, ())
    if not candidates:
        raise InputError("candidates, LABEL=FILE", "none")
    results, peak = race(candidates, arguments.size, arguments.rounds)
    rows = rows_of(results, peak)
    sys.stdout.write(markdown(rows))
    if arguments.output is not None:
        measured = [dataclasses.asdict(one) for one in results]
        write_table(arguments.output, "rivals", rows, size=arguments.size, peak_gflops=peak, rows=measured)
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.rivals"))
