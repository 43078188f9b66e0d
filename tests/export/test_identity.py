"""The shipped identity file holds the shipped checkpoint's network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from pocketface.export import identity
from pocketface.runtime.errors import CheckpointError
from pocketface.runtime.faces.identity import IdentityNetwork, to_identity_crops
from pocketface.runtime.images import to_faces
from pocketface.runtime.models.checkpoint import load_model
from pocketface.runtime.weights import shipped_path

FACES = to_faces([astronaut()[20:276, 100:356], astronaut()[20:276, 90:346][:, ::-1]])


def reference() -> np.ndarray:
    network, _ = load_model(shipped_path("identity"), expect="mobilefacenet")
    crops = np.ascontiguousarray(to_identity_crops(FACES).transpose(0, 3, 1, 2))
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(crops)).numpy()


@pytest.mark.parametrize("precision", [None, "fp16", "fp32"])
def test_the_file_embeds_as_the_checkpoint_does(precision: str | None, tmp_path: Path) -> None:
    path = None
    if precision is not None:
        path = tmp_path / "identity.tflite"
        identity.write_identity(path, precision=precision)
    found = IdentityNetwork(path, threads=1)(FACES)
    # Half-precision weights: 2**-11 relative each; what adds up over 50 layers stays below a fifth of a degree.
    limit = 1e-6 if precision == "fp32" else 6e-6
    assert (1 - (found * reference()).sum(1)).max() < limit


def test_the_command_writes_the_shipped_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "identity.tflite"
    assert identity.main(["--output", str(path)]) == 0
    assert str(path.stat().st_size) in capsys.readouterr().out
    shipped = Path(identity.__file__).parents[1] / "runtime" / "weights" / "identity_fp16.tflite"
    assert path.stat().st_size == shipped.stat().st_size


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        identity.write_identity(tmp_path / "identity.tflite", shipped_path("student-base"))
