"""The whole path on one portrait: age it, restore it, export the student, prove the files, write the report.

    python -m pocketface.bench.demo --output demo
The portrait is the one that scikit-image carries (the astronaut Eileen Collins, NASA, public domain). The last line
printed is the address of the page. Exit code: 0, or 1 where a file of the bundle is not proven.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from ..export.bundle import Plan, build_bundle
from ..export.progress import shown
from ..export.verify import count_steps, verify_bundle
from ..runtime.cli import run_module
from ..runtime.faces.degrade import jpeg
from ..runtime.faces.detect import open_detector
from ..runtime.images import Photo, write_photo
from ..runtime.parity import Embed
from .bench_command import FIGURES, PAGE, measure_latency
from .candidates import locate
from .faces_set import Pixels, astronaut_faces
from .lineup import Lineup, gather
from .parity_command import choose_judge, judge_notes, run_trials, table_of
from .report import BeforeAfter, Report, write_html, write_json
from .showcase import restore_with_all, show_photo
from .size import measure_sizes

# What a small scan of an old print has been through: soft optics, few pixels, grain, a strong JPEG.
BLUR_SIGMA, SHRINK, NOISE_SIGMA, JPEG_QUALITY = 1.2, 2, 7.0, 45
_SIZES = (256,)
_ROUNDS, _SECONDS = 10, 4.0
_JUDGE = "identity"
_ABOUT = (
    f"A portrait (NASA, public domain), aged into a small scan: blurred by {BLUR_SIGMA:g} pixels, shrunk {SHRINK} "
    f"times, noise of {NOISE_SIGMA:g} grey levels, JPEG quality {JPEG_QUALITY}, enlarged again."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the demo's arguments."""
    parser.add_argument("--output", "-o", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument("--student", default="student-base", help="checkpoint, by path or name (default: student-base)")
    parser.add_argument("--teacher", default="teacher", help="checkpoint, by path or name (default: teacher)")
    parser.add_argument("--device", default="auto", help="where student and teacher run: auto, cpu, cuda, mps")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Do it all and print the address of the page last."""
    start, output = time.perf_counter(), arguments.output
    lineup = gather(arguments.student, arguments.teacher, None, arguments.device)
    picture = restore_portrait(lineup, arguments.seed, output)
    _say(start, f"portrait aged and restored: {output}")
    bundle = output / "bundle"
    proven = export_and_verify(locate(arguments.student), bundle)
    _say(start, f"bundle exported and {'verified' if proven else 'NOT PROVEN'}: {bundle}")
    lineup = gather(arguments.student, arguments.teacher, bundle, arguments.device)
    report = judge(lineup, choose_judge(_JUDGE), picture)
    write_json(report, output / FIGURES)
    write_html(report, output / PAGE)
    sys.stdout.write(table_of(report.trials))
    _say(start, report.headline)
    sys.stdout.write(f"{(output / PAGE).resolve().as_uri()}\n")
    return 0 if proven and report.verdict == "pass" else 1


def age(portrait: Pixels, seed: int) -> Pixels:
    """Blur, shrink, add noise, compress, enlarge: the same for the same seed.

    Args:
        portrait: (H, W, 3) uint8 RGB.
        seed: of the noise.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = portrait.shape[:2]
    soft = cv2.GaussianBlur(portrait, (0, 0), BLUR_SIGMA)
    small = cv2.resize(soft, (width // SHRINK, height // SHRINK), interpolation=cv2.INTER_AREA)
    noisy = small + np.random.default_rng(seed).normal(0.0, NOISE_SIGMA, small.shape)
    scan = jpeg(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), JPEG_QUALITY)
    return np.asarray(cv2.resize(scan, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def restore_portrait(lineup: Lineup, seed: int, output: Path) -> BeforeAfter:
    """Age the portrait, restore it with student and teacher, and write all as PNG."""
    original = np.ascontiguousarray(data.astronaut())
    aged = Photo(age(original, seed))
    networks = {candidate.label: candidate.open() for candidate in lineup.networks}
    results = restore_with_all(aged, networks, open_detector())
    pictures = {"original": Photo(original), "aged": aged, **{name: result.photo for name, result in results.items()}}
    for name, photo in pictures.items():
        write_photo(photo, output / f"{name}.png")
    return show_photo(aged, results, _ABOUT, original)


def export_and_verify(student: Path, bundle: Path) -> bool:
    """Export every format and precision, and prove the files once more as `pocketface verify` does."""
    plan = Plan(student, sizes=_SIZES)
    with shown(len(plan.files())) as step:
        build_bundle(plan, bundle, step)
    with shown(count_steps(bundle)) as step:
        return verify_bundle(bundle, checkpoint=student, step=step).passed


def judge(lineup: Lineup, embed: Embed | None, picture: BeforeAfter) -> Report:
    """Let the judges do their short round, and gather what the page shows."""
    trials, examples, faces = run_trials(lineup, astronaut_faces, embed)
    return Report(
        title="demo",
        command="make demo",
        faces_source=faces.source,
        provenance=lineup.provenance(),
        notes=judge_notes(_JUDGE),
        photo=picture,
        examples=examples,
        trials=trials,
        timings=measure_latency(lineup, _SIZES, _ROUNDS, _SECONDS),
        sizes=measure_sizes(lineup.everyone, _SIZES),
    )


def _say(start: float, words: str) -> None:
    sys.stdout.write(f"[{time.perf_counter() - start:5.1f} s] {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.demo"))
