"""What the wheel holds: every sub-package, every weight, and nothing outside the import name."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("runtime", "distill", "export", "bench")


def declared_packages() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(settings["tool"]["setuptools"]["packages"])


def test_every_sub_package_is_declared() -> None:
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    assert declared_packages() == {"pocketface." + ".".join(folder.relative_to(ROOT).parts) for folder in folders}


@pytest.mark.parametrize("package", sorted(declared_packages()))
def test_every_declared_package_is_installed_with_its_files(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    source = ROOT.joinpath(*package.split(".")[1:])
    wanted = {path.name for path in source.iterdir() if path.is_file() and path.name != ".gitkeep"}
    assert wanted - {path.name for path in installed.iterdir()} == set()


def test_the_distribution_owns_no_top_level_name_but_its_own() -> None:
    # Building from a checkout leaves metadata there too, which lists the sources.
    found = importlib.metadata.distributions(name="pocketface")
    installed = [one for one in found if Path(str(one.locate_file(""))).resolve() != ROOT]
    assert len(installed) == 1
    tops = {file.parts[0] for file in installed[0].files or [] if not file.parts[0].startswith("..")}
    assert tops
    assert {top for top in tops if not top.startswith(("pocketface", "__editable__", "__pycache__"))} == set()


def test_every_verb_resolves_to_a_command() -> None:
    points = importlib.metadata.entry_points(group="pocketface.commands")
    assert {point.name for point in points} == {"restore", "distill", "export", "verify", "parity", "bench"}
    for point in points:
        command = point.load()
        assert callable(command.run)
        assert callable(command.add_arguments)
        assert (command.__doc__ or "").strip()
