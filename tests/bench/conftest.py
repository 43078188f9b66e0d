"""Fixtures of the judges' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fakes import save_student


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny student's checkpoint."""
    return save_student(tmp_path_factory.mktemp("weights") / "student.safetensors")
