"""The rooms import downwards only, and the lowest one stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "runtime": {"runtime"},
    "distill": {"runtime", "distill"},
    "export": {"runtime", "export"},
    "bench": {"runtime", "distill", "export", "bench"},
}
HEAVY = ("torch", "timm", "onnx", "onnxruntime", "coremltools", "matplotlib", "lightning_fabric")


def rooms_imported_by(path: Path) -> set[str]:
    """Names of the rooms that a module imports, relatively or by the package's name."""
    found: set[str] = set()
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            if node.level > len(package):  # `from ..runtime import x` in a room's own modules
                base = []
            full = [*base, *(node.module or "").split(".")] if node.module else base
            names = [[*full, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for parts in names:
            inner = parts[1:] if parts[0] == "pocketface" else parts
            if inner and inner[0] in ALLOWED:
                found.add(inner[0])
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_point_only_downwards(room: str) -> None:
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules, f"no modules in {room}"
    wrong = {str(path.relative_to(ROOT)): rooms_imported_by(path) - ALLOWED[room] for path in modules}
    assert {path: rooms for path, rooms in wrong.items() if rooms} == {}


def test_the_guard_sees_an_upward_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "runtime" / "faces"
    folder.mkdir(parents=True)
    for name, line in {"a": "from ...bench import report", "b": "from pocketface.distill.faces import Crop"}.items():
        (folder / f"{name}.py").write_text(line + "\n", encoding="utf-8")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert rooms_imported_by(folder / "a.py") == {"bench"}
    assert rooms_imported_by(folder / "b.py") == {"distill"}


@pytest.mark.parametrize(
    "module",
    [
        "runtime",
        "runtime.photo",
        "runtime.batch.command",
        "runtime.batch.cluster",
        "runtime.backends",
        "runtime.backends.litert",
        "runtime.faces.detect",
        "runtime.parity",
    ],
)
def test_a_camera_needs_no_torch(module: str) -> None:
    code = f"import sys, pocketface.{module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert seen.stdout.strip() == "[]"
