"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and reference weights; tests that want it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("POCKETFACE_SHARED", default))
    if not (folder / "faces" / "manifest.csv").is_file():
        pytest.skip(f"no photographs at {folder}: set POCKETFACE_SHARED to run this test")
    return folder
