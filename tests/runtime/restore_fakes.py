"""`pocketface restore` on a fake engine and a fake detector, and a portrait to give it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from pocketface.runtime import cli, restore_command
from pocketface.runtime.faces.detect import Detection
from pocketface.runtime.restorer import Faces, RestorerInfo

LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])
Command = Callable[..., int]


class Brighter:
    info = RestorerInfo("brighter", "numpy", "cpu", None, 32, 128, "0123")

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:  # noqa: ARG002 - the contract's
        return np.clip(faces + np.float32(0.1), 0, 1)


class Somewhere:
    """Sees the astronaut's face in everything that is not of one colour."""

    name = "somewhere"

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        return [Detection((150, 50, 290, 200), 0.9, LANDMARKS)] if np.ptp(image, axis=(0, 1)).max() > 20 else []


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `pocketface restore` with its arguments, on fakes."""
    monkeypatch.setattr(restore_command, "open_restorer", lambda *_, **__: Brighter())
    monkeypatch.setattr(restore_command, "open_detector", lambda *_, **__: Somewhere())
    return lambda *words: cli.main(["restore", *map(str, words)])


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.jpg"
    Image.fromarray(astronaut()).save(path, quality=90)
    return path
