"""TFLite files on runtimes of years ago, each in an environment of its own.

Set POCKETFACE_OLD_PYTHONS to the interpreters of environments with `tflite-runtime` (and numpy below 2), separated by
colons; the test is skipped without.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from torch import fx

from pocketface.export.calibration import ActivationRanges
from pocketface.export.targets import TARGETS, Job
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.metrics import psnr
from pocketface.runtime.restorer import Faces

PYTHONS = [name for name in os.environ.get("POCKETFACE_OLD_PYTHONS", "").split(os.pathsep) if name]
CODE = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
found = []
for face in np.load(sys.argv[2]):
    face = np.ascontiguousarray(face.transpose(1, 2, 0)[None])
    if given["dtype"] == np.uint8:
        face = np.rint(face * 255).astype(np.uint8)
    interpreter.set_tensor(given["index"], face)
    interpreter.invoke()
    values = interpreter.get_tensor(answer["index"]).astype(np.float32)
    found.append(values[0].transpose(2, 0, 1) / (255 if answer["dtype"] == np.uint8 else 1))
np.save(sys.argv[3], np.stack(found))
"""
CASES = [
    (target.name, precision)
    for target in TARGETS.values()
    if target.suffix == ".tflite"
    for precision in target.precisions
]


@pytest.mark.parametrize("python", PYTHONS or [pytest.param("", marks=pytest.mark.skip("no old runtimes at hand"))])
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_old_runtimes_give_the_same_answers(
    tmp_path: Path,
    lively_graph: fx.GraphModule,
    lively_ranges: ActivationRanges,
    golden: tuple[Faces, tuple[str, ...]],
    python: str,
    name: str,
    precision: str,
) -> None:
    path, asked, answered = tmp_path / "a.tflite", tmp_path / "asked.npy", tmp_path / "answered.npy"
    TARGETS[name].write(Job(lively_graph, 32, precision, path, lively_ranges, {}))
    np.save(asked, golden[0])
    command = [python, "-c", CODE, str(path), str(asked), str(answered)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - interpreters that the developer named
    expected = open_restorer(path, threads=1)(golden[0])
    # Float kernels differ in the order of sums; 8-bit ones in how they round, by one level at most of a few values.
    least = {"fp32": 110.0, "fp16": 110.0, "dynamic8": 45.0, "int8": 45.0}[precision]
    eight = {"tflite-uint8": 55.0, "tflite-integer": 45.0}.get(name, least)
    assert psnr(expected, np.load(answered)).min() >= min(least, eight)
