"""What an app's developer gets beside the files: code for Swift, Kotlin and C that aligns, restores, proves; scripts.

The templates in `app/` are real source files; words between @ signs are filled in from the bundle's manifest, so that
names, sizes, landmarks and tolerances cannot drift apart from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..runtime.errors import ExportError
from ..runtime.faces.align import FFHQ
from ..runtime.manifest import Artefact, Manifest
from ..runtime.parity import TOLERANCES

FOLDER = "app"
_TEMPLATES = Path(__file__).parent / "app"
# Which file a piece of code runs, the first that the bundle holds.
_PREFERRED = {"tflite": ("fp16", "fp32", "int8", "dynamic8"), "coreml": ("fp16", "int8", "fp32", "palette8")}
_CODE = {"restore.c": "tflite", "FaceRestorer.kt": "tflite", "FaceRestorer.swift": "coreml"}
_SCRIPTS = {"measure_android.sh": "tflite", "measure_mac.sh": "coreml"}
_POINTS = {
    "restore.c": lambda x, y: f"{{{x:.3f}f, {y:.3f}f}}",
    "FaceRestorer.kt": lambda x, y: f"floatArrayOf({x:.3f}f, {y:.3f}f)",
    "FaceRestorer.swift": lambda x, y: f"CGPoint(x: {x:.3f}, y: {y:.3f})",
}
_EXECUTABLE = 0o755


def write_app_files(bundle: Path, manifest: Manifest) -> list[str]:
    """Write the code and scripts that fit the bundle's files, and return their paths in it.

    Args:
        bundle: the folder.
        manifest: of its files; those of a fixed size that take tensors are run by the code.
    """
    written = []
    for name, target in (_CODE | _SCRIPTS).items():
        artefact = _choose(manifest.artefacts, target)
        if artefact is None:
            continue
        (bundle / FOLDER).mkdir(exist_ok=True)
        path = bundle / FOLDER / name
        path.write_text(_fill((_TEMPLATES / name).read_text(encoding="utf-8"), name, artefact, manifest), "utf-8")
        if name in _SCRIPTS:
            path.chmod(_EXECUTABLE)
        written.append(f"{FOLDER}/{name}")
    return written


def _choose(artefacts: Sequence[Artefact], target: str) -> Artefact | None:
    fitting = [artefact for artefact in artefacts if artefact.target == target]
    return min(fitting, key=lambda one: _PREFERRED[target].index(one.precision), default=None)


def _fill(text: str, name: str, artefact: Artefact, manifest: Manifest) -> str:
    golden = next(entry for entry in manifest.golden if entry.size == artefact.size)
    points = _POINTS.get(name, _POINTS["restore.c"])
    values = {
        "FILE": artefact.file.path,
        "SIZE": str(artefact.size),
        "FACES": str(len(golden.names)),
        "GIVEN": golden.given.path,
        "RESTORED": golden.restored.path,
        "GIVEN_NAME": Path(golden.given.path).name,
        "RESTORED_NAME": Path(golden.restored.path).name,
        "TOLERATED": f"{TOLERANCES[artefact.precision].min_psnr_db:g}",
        "TEMPLATE": ", ".join(points(float(x), float(y)) for x, y in FFHQ.scaled(artefact.size)),
        "TFLITE_FILES": _files(manifest, ".tflite", artefact.size),
        "COREML_PACKAGES": _files(manifest, ".mlpackage", artefact.size),
    }
    for word, value in values.items():
        text = text.replace(f"@{word}@", value)
    if "@" in text:
        raise ExportError(f"a template without open words at {name}", text[text.index("@") :][:40])
    return text


def _files(manifest: Manifest, suffix: str, size: int) -> str:
    """The files of one size that plain tensors can be fed to, for a shell's loop."""
    found = [artefact.file.path for artefact in manifest.artefacts if artefact.size == size]
    return " ".join(name for name in found if name.endswith(suffix) and "_image." not in name)
