"""The code that travels in a bundle: filled in from the manifest; for C, compiled and run against a stand-in."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pocketface.export import app_files
from pocketface.export.app_files import write_app_files
from pocketface.export.golden import read_golden
from pocketface.runtime.errors import ExportError
from pocketface.runtime.faces.align import FFHQ, estimate_similarity
from pocketface.runtime.manifest import read_manifest

# The part of TensorFlow Lite's C API that the code uses, and a stand-in that answers with a file of prepared faces.
HEADER = """
#include <stddef.h>
#include <stdint.h>
typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
typedef struct TfLiteModel TfLiteModel;
typedef struct TfLiteInterpreter TfLiteInterpreter;
typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteTensor TfLiteTensor;
TfLiteModel *TfLiteModelCreateFromFile(const char *path);
void TfLiteModelDelete(TfLiteModel *model);
TfLiteInterpreterOptions *TfLiteInterpreterOptionsCreate(void);
void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions *options);
void TfLiteInterpreterOptionsSetNumThreads(TfLiteInterpreterOptions *options, int32_t threads);
TfLiteInterpreter *TfLiteInterpreterCreate(const TfLiteModel *model, const TfLiteInterpreterOptions *options);
void TfLiteInterpreterDelete(TfLiteInterpreter *interpreter);
TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter *interpreter);
TfLiteTensor *TfLiteInterpreterGetInputTensor(const TfLiteInterpreter *interpreter, int32_t index);
const TfLiteTensor *TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter *interpreter, int32_t index);
TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter *interpreter);
TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor *tensor, const void *data, size_t size);
TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor *tensor, void *data, size_t size);
"""
STAND_IN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/lite/c/c_api.h>
static FILE *answers, *questions;
static char one;
TfLiteModel *TfLiteModelCreateFromFile(const char *path) {
    FILE *file = fopen(path, "rb");
    answers = fopen(getenv("ANSWERS"), "rb"), questions = fopen(getenv("QUESTIONS"), "wb");
    return file && answers && questions ? (TfLiteModel *)&one : NULL;
}
void TfLiteModelDelete(TfLiteModel *model) { (void)model; fclose(questions); }
TfLiteInterpreterOptions *TfLiteInterpreterOptionsCreate(void) { return (TfLiteInterpreterOptions *)&one; }
void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions *options) { (void)options; }
void TfLiteInterpreterOptionsSetNumThreads(TfLiteInterpreterOptions *o, int32_t n) { (void)o, (void)n; }
TfLiteInterpreter *TfLiteInterpreterCreate(const TfLiteModel *m, const TfLiteInterpreterOptions *o) {
    return (void)m, (void)o, (TfLiteInterpreter *)&one;
}
void TfLiteInterpreterDelete(TfLiteInterpreter *interpreter) { (void)interpreter; }
TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter *i) { return (void)i, kTfLiteOk; }
TfLiteTensor *TfLiteInterpreterGetInputTensor(const TfLiteInterpreter *i, int32_t n) {
    return (void)i, (void)n, (TfLiteTensor *)&one;
}
const TfLiteTensor *TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter *i, int32_t n) {
    return (void)i, (void)n, (const TfLiteTensor *)&one;
}
TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter *i) { return (void)i, kTfLiteOk; }
TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor *t, const void *data, size_t size) {
    return (void)t, fwrite(data, 1, size, questions) == size ? kTfLiteOk : kTfLiteError;
}
TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor *t, void *data, size_t size) {
    return (void)t, fread(data, 1, size, answers) == size ? kTfLiteOk : kTfLiteError;
}
"""


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose manifest has a Core ML package too."""
    copied = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = read_manifest(copied)
    tflite = next(one for one in manifest.artefacts if one.target == "tflite")
    file = dataclasses.replace(tflite.file, path="tiny_32_fp16.mlpackage")
    package = dataclasses.replace(tflite, file=file, target="coreml", precision="fp16")
    write_app_files(copied, dataclasses.replace(manifest, artefacts=(*manifest.artefacts, package)))
    return copied


def test_a_bundle_holds_code_for_its_files_alone(tiny_bundle: Path, bundle: Path) -> None:
    names = {"restore.c", "FaceRestorer.kt", "measure_android.sh"}
    assert {path.name for path in (tiny_bundle / "app").iterdir()} == names
    assert {path.name for path in (bundle / "app").iterdir()} == {*names, "FaceRestorer.swift", "measure_mac.sh"}


def test_names_sizes_and_landmarks_are_those_of_the_bundle(bundle: Path) -> None:
    landmarks = np.round(FFHQ.scaled(32), 3)
    for name, file in (("restore.c", "tiny_32_fp32.tflite"), ("FaceRestorer.kt", "tiny_32_fp32.tflite"),
                       ("FaceRestorer.swift", "tiny_32_fp16.mlpackage")):  # fmt: skip
        text = (bundle / "app" / name).read_text()
        assert file in text
        assert "given_32.bin" in text
        assert "restored_32.bin" in text
        block = text[re.search("template", text[200:], re.IGNORECASE).start() + 200 :]  # type: ignore[union-attr]
        numbers = [float(number) for number in re.findall(r"\d+\.\d{3}", text)]
        np.testing.assert_allclose(np.array(numbers[:10]).reshape(5, 2), landmarks, atol=1e-6)
        assert block
        for opening, closing in ("()", "{}", "[]"):
            assert text.count(opening) == text.count(closing), name


def test_scripts_are_whole_and_can_be_run(bundle: Path) -> None:
    for name, file in (("measure_android.sh", "tiny_32_int8.tflite"), ("measure_mac.sh", "tiny_32_fp16.mlpackage")):
        path = bundle / "app" / name
        assert file in path.read_text()
        assert path.stat().st_mode & 0o111
        subprocess.run(["sh", "-n", str(path)], check=True)  # noqa: S603, S607 - syntax alone, our own script


@pytest.fixture
def program(bundle: Path, tmp_path: Path) -> Path:
    """The C code, compiled with every warning an error, and linked with the stand-in."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    header = tmp_path / "include/tensorflow/lite/c/c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text(HEADER)
    (tmp_path / "stand_in.c").write_text(STAND_IN)
    sources = [str(bundle / "app/restore.c"), str(tmp_path / "stand_in.c")]
    command = ["gcc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", f"-I{tmp_path}/include"]
    subprocess.run([*command, *sources, "-lm", "-o", str(tmp_path / "restore")], check=True)  # noqa: S603 - our own source
    return tmp_path / "restore"


def _run(program: Path, bundle: Path, answers: np.ndarray) -> tuple[int, list[float], np.ndarray]:
    files = {name: program.with_name(name.lower()) for name in ("ANSWERS", "QUESTIONS")}
    files["ANSWERS"].write_bytes(answers.astype("<f4").tobytes())
    environment = {name: str(path) for name, path in files.items()}
    done = subprocess.run([str(program), str(bundle)], env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - just compiled
    asked = np.frombuffer(files["QUESTIONS"].read_bytes(), "<f4")
    return done.returncode, [float(word) for word in re.findall(r"([-\d.]+) dB", done.stdout)], asked


def test_the_c_code_gives_rows_by_columns_by_rgb_and_judges_the_answers(program: Path, bundle: Path) -> None:
    given, restored = read_golden(bundle, read_manifest(bundle).golden[0])
    right = restored.transpose(0, 2, 3, 1)
    code, decibels, asked = _run(program, bundle, right)
    assert code == 0
    assert min(decibels) > 120
    asked = asked.reshape(len(given), -1)
    np.testing.assert_array_equal(asked[:, :-1].reshape(right.shape), given.transpose(0, 2, 3, 1))
    assert (asked[:, -1] == 1).all()  # the strength
    code, decibels, _ = _run(program, bundle, right + np.float32(0.01))
    assert code == 1
    assert decibels == pytest.approx([40] * len(given), abs=0.1)
    assert _run(program, bundle, right[..., ::-1])[0] == 1  # swapped channels


def test_the_c_code_fits_the_similarity_that_alignment_fits(program: Path, bundle: Path, tmp_path: Path) -> None:
    points = np.array([(203.0, 102.4), (246.0, 104.4), (221.9, 126.9), (201.2, 142.0), (241.6, 143.5)])
    numbers = ", ".join(f"{{{x}f, {y}f}}" for x, y in points)
    source = tmp_path / "fit.c"
    source.write_text(
        f'#define main unused\n#include "{bundle}/app/restore.c"\n#undef main\n'
        f"int main(void) {{ float from[5][2] = {{{numbers}}}, m[4]; fit_similarity((const float(*)[2])from, m);"
        'printf("%.9g %.9g %.9g %.9g", m[0], m[1], m[2], m[3]); return 0; }'
    )
    command = ["gcc", "-std=c99", f"-I{tmp_path}/include", str(source), str(tmp_path / "stand_in.c"), "-lm"]
    subprocess.run([*command, "-o", str(tmp_path / "fit")], check=True)  # noqa: S603 - our own source
    out = subprocess.run([str(tmp_path / "fit")], capture_output=True, text=True, check=True).stdout  # noqa: S603 - just compiled
    a, b, c, d = map(float, out.split())
    matrix = estimate_similarity(points, FFHQ, 32)
    # The library weighs landmarks by Huber; for these five, which fit well, plain least squares differ by little.
    np.testing.assert_allclose([[a, -b, c], [b, a, d]], np.asarray(matrix)[:2], atol=0.6)
    assert program.is_file()


def test_a_word_that_nobody_fills_in_is_an_error(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = Path(shutil.copytree(Path(app_files.__file__).parent / "app", tmp_path / "app"))
    (templates / "restore.c").write_text("int @NOBODY@;")
    monkeypatch.setattr(app_files, "_TEMPLATES", templates)
    with pytest.raises(ExportError, match="@NOBODY@"):
        write_app_files(tmp_path, read_manifest(tiny_bundle))
