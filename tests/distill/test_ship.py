from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pocketface.distill import ship
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import CheckpointError, InputError
from pocketface.runtime.models.checkpoint import load_model, save_checkpoint
from pocketface.runtime.models.student import StudentConfig, StudentRestorer

TINY = StudentConfig((8, 16), (1,), 1, (1,))


def saved(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    path = folder / f"{seed}.safetensors"
    save_checkpoint(path, StudentRestorer(TINY), training={"steps": seed})
    return path


def test_a_blend_lies_between(tmp_path: Path) -> None:
    one, other, output = saved(tmp_path, 1), saved(tmp_path, 2), tmp_path / "out.safetensors"
    assert run_command(ship, "ship", [str(one), "--blend", str(other), "--share", "0.25", "-o", str(output)]) == 0
    shipped, info = load_model(output, "student")
    first, second = (load_model(path)[0].state_dict() for path in (one, other))
    for name, value in shipped.state_dict().items():
        if value.is_floating_point():
            # float16 keeps 11 bits
            assert torch.allclose(value, 0.75 * first[name] + 0.25 * second[name], rtol=1e-3, atol=1e-5)
    assert info.training["steps"] == 1
    assert info.training["blend"] == {"share": 0.25, "of": {"steps": 2}}
    assert "Apache-2.0" in json.dumps(info.training)


def test_only_likes_blend() -> None:
    one = StudentRestorer(TINY)
    with pytest.raises(CheckpointError, match="one shape"):
        ship.blend(one, StudentRestorer(StudentConfig((8, 24), (1,), 1, (1,))), 0.5)
    with pytest.raises(InputError, match="share"):
        ship.blend(one, StudentRestorer(TINY), 1.5)
