"""Where one photograph's time goes, stage by stage, beside OpenCV's bare decoding and encoding of the same file.

    python -m pocketface.bench.photo PHOTO
    python -m pocketface.bench.photo PHOTO --rounds 25 --json times.json
Each round decodes and encodes the file in memory with OpenCV alone and then restores it from file to file as
`pocketface restore` does, everything opened and warm, on one thread. Times are of the processor; the ratio of the two
within one round is what compares between machines and busy hours. The output has the input's format.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.atomic import replacing_file
from ..runtime.backends import open_restorer
from ..runtime.cli import positive, run_module
from ..runtime.companions import open_companions
from ..runtime.decode import MOST_PIXELS
from ..runtime.errors import ImageError
from ..runtime.faces.detect import open_detector
from ..runtime.images import check_destination, read_photo, write_photo
from ..runtime.options import DEFAULT
from ..runtime.photo import restore_photo
from ..runtime.weights import DEFAULT_RESTORER

WARM_UP_ROUNDS = 2
REFERENCE, ALL = "cv2", "all"
Clock = Callable[[], float]
# What one round took: stage -> seconds.
Round = dict[str, float]


@dataclass(frozen=True)
class Times:
    """What was measured.

    Args:
        photo: file name.
        width, height: pixels.
        faces: that were found.
        rounds: after warming up.
        least_ms: the shortest time of each stage, of `all` of them and of `cv2`, milliseconds of the processor.
        ratio: of each to `cv2` in the same round, median over the rounds.
        peak_mib: highest memory of the process.
    """

    photo: str
    width: int
    height: int
    faces: int
    rounds: int
    least_ms: dict[str, float]
    ratio: dict[str, float]
    peak_mib: float


def measure(path: Path, *, rounds: int, model: str = DEFAULT_RESTORER, clock: Clock = time.process_time) -> Times:
    """Time a photograph's way through PocketFace and through OpenCV, in turn.

    Args:
        path: of the photograph; both write into a temporary folder.
        rounds: to time, after two to warm up.
        model: of the restorer.
        clock: seconds.

    Raises:
        ImageError: no photograph, or one that OpenCV does not read.
        PocketFaceError: a format that is not written, or a model that cannot be opened.
    """
    check_destination(path.with_name("out" + path.suffix), photo := read_photo(path))
    height, width = photo.rgb.shape[:2]
    del photo
    cv2.setNumThreads(1)
    restorer, detector = open_restorer(model, threads=1), open_detector(threads=1)
    companions = open_companions(DEFAULT, detector, threads=1)
    content, faces = np.fromfile(path, np.uint8), 0

    def restore(output: Path) -> Round:
        nonlocal faces
        start = clock()
        photo = read_photo(path)
        read = clock()
        result = restore_photo(photo, restorer, detector, DEFAULT, companions, overwrite=True, clock=clock)
        del photo
        restored, faces = clock(), len(result.faces)
        write_photo(result.photo, output)
        end = clock()
        return {"read": read - start, **result.seconds, "write": end - restored, ALL: end - start}

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / f"out{path.suffix}"
        taken = [{REFERENCE: _bare(content, path, clock), **restore(output)} for _ in range(WARM_UP_ROUNDS + rounds)]
    return _summarise(path, (width, height), faces, taken[WARM_UP_ROUNDS:])


def _bare(content: NDArray[np.uint8], path: Path, clock: Clock) -> float:
    """OpenCV's time to decode a file's bytes and to encode the pixels again, at its own settings."""
    start = clock()
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if pixels is None:
        raise ImageError("a photograph that OpenCV reads", str(path), "measure with a JPEG")
    cv2.imencode(path.suffix, pixels)
    return clock() - start


def _summarise(path: Path, size: tuple[int, int], faces: int, taken: Sequence[Round]) -> Times:
    stages = {stage: np.array([one[stage] for one in taken]) for stage in taken[0]}
    least = {stage: round(float(seconds.min()) * 1e3, 2) for stage, seconds in stages.items()}
    ratio = {stage: round(float(np.median(seconds / stages[REFERENCE])), 4) for stage, seconds in stages.items()}
    return Times(path.name, *size, faces, len(taken), least, ratio, round(_peak_mib(), 1))


def _peak_mib() -> float:
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def describe(times: Times) -> str:
    """The figures as a Markdown table, stages that took less than a tenth of a millisecond left out."""
    megapixels = times.width * times.height / 1e6
    lines = [
        f"{times.photo}: {megapixels:.1f} megapixels, {times.faces} face(s), {times.rounds} rounds, "
        f"peak {times.peak_mib:.0f} MiB", "",
        "| stage | ms, least | times OpenCV's decoding and encoding, median |", "|---|---|---|",
    ]  # fmt: skip
    rows = [f"| {stage} | {ms:.1f} | {times.ratio[stage]:.3f} |" for stage, ms in times.least_ms.items() if ms >= 0.1]
    return "\n".join([*lines, *rows])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("photo", type=Path, metavar="PHOTO", help=f"of at most {MOST_PIXELS // 10**6} megapixels")
    parser.add_argument("--rounds", type=positive, default=15, help="to time (default: %(default)s)")
    parser.add_argument("--model", default=DEFAULT_RESTORER, help="of the restorer (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the table."""
    times = measure(arguments.photo, rounds=arguments.rounds, model=arguments.model)
    if arguments.json is not None:
        with replacing_file(arguments.json) as temporary:
            temporary.write_text(json.dumps(asdict(times), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(describe(times) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.photo"))
