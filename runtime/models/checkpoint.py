"""Checkpoints: one safetensors file that says what it is, so that a network can be rebuilt from the file alone.

The header's metadata has one entry, `pocketface`: JSON with `format`, `architecture`, `config`, `training` (data,
licence, recipe, figures) and `tensors_sha256`, over the names, types, shapes and bytes of all tensors in order of name.
One entry, because safetensors writes several in random order, and the same weights shall give the same file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..atomic import replacing_file
from ..errors import CheckpointError
from .identity import MobileFaceNet, MobileFaceNetConfig
from .student import StudentConfig, StudentRestorer
from .teacher import TeacherConfig, TeacherRestorer

FORMAT = "pocketface-checkpoint-1"
KEY = "pocketface"
_LARGEST = 4096  # of any number in a configuration: a hostile one could keep the reader building for hours

ARCHITECTURES: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "student": (StudentRestorer, StudentConfig),
    "teacher": (TeacherRestorer, TeacherConfig),
    "mobilefacenet": (MobileFaceNet, MobileFaceNetConfig),
}


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Args:
        architecture: a key of ARCHITECTURES.
        config: the architecture's configuration, as JSON values.
        training: what the weights were made from: data, licence, recipe, steps, figures.
        sha256: of the file.
    """

    architecture: str
    config: dict[str, Any]
    training: dict[str, Any]
    sha256: str


def save_checkpoint(path: Path, model: nn.Module, *, training: Mapping[str, object], half: bool = False) -> str:
    """Write a network whole or not at all, and return the sha256 of the file.

    Args:
        path: where to; the suffix should be `.safetensors`.
        model: an instance of one of ARCHITECTURES, with its configuration in `.config`.
        training: JSON values on where the weights come from.
        half: store floating-point tensors as float16, for shipping.

    Raises:
        CheckpointError: a network of another kind, or weights that are not finite (in float16, where asked for).
        OutputError: the place cannot be written to.
    """
    name = next((name for name, (kind, _) in ARCHITECTURES.items() if type(model) is kind), None)
    if name is None:
        raise CheckpointError(f"a network of {', '.join(ARCHITECTURES)}", type(model).__name__)
    state = {key: _storable(key, value, half=half) for key, value in model.state_dict().items()}
    config = typing.cast("Any", model.config)
    metadata = {
        "format": FORMAT,
        "architecture": name,
        "config": dataclasses.asdict(config),
        "training": dict(training),
        "tensors_sha256": hash_tensors(state),
    }
    with replacing_file(path) as temporary:
        save_file(state, temporary, metadata={KEY: json.dumps(metadata, sort_keys=True)})
        return hashlib.sha256(temporary.read_bytes()).hexdigest()


def load_model(path: Path, expect: str | None = None, device: str = "cpu") -> tuple[nn.Module, CheckpointInfo]:
    """Rebuild a network from its file, in float32 and eval mode.

    Args:
        path: a file written by `save_checkpoint`.
        expect: the architecture it must be; None takes any.
        device: torch's name of the device to put it on.

    Raises:
        CheckpointError: not such a file, damaged, of another architecture, or with other keys or shapes than its
            configuration asks for.
    """
    state, metadata = _read(path)
    architecture, config, training = (metadata.get(key) for key in ("architecture", "config", "training"))
    if architecture not in list(ARCHITECTURES) or expect not in (None, architecture):
        wanted = f"a checkpoint of architecture {expect or ' or '.join(ARCHITECTURES)}"
        raise CheckpointError(wanted, f"{str(architecture)[:40]} in {path}")
    if not isinstance(config, dict) or not isinstance(training, dict):
        raise CheckpointError("a checkpoint with its configuration and training", f"neither or one in {path}")
    kind, config_type = ARCHITECTURES[architecture]
    try:
        with torch.device("meta"):  # a configuration may ask for more than any machine has; its weights are here
            model = kind(_build_config(config_type, config, path))
    except CheckpointError:
        raise
    except Exception as error:  # layers raise whatever a value of another type or size leads them to
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"a possible configuration of a {architecture}", f"{reason} in {path}") from error
    _fill(model, state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    info = CheckpointInfo(architecture, dict(config), dict(training), digest)
    return model.to(device).eval(), info


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """sha256 over the names, types, shapes and bytes of tensors, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _storable(key: str, value: Tensor, *, half: bool) -> Tensor:
    value = value.detach().cpu()
    if half and value.is_floating_point():
        value = value.half()
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise CheckpointError(
            f"finite weights of type {value.dtype}", f"inf or NaN in {key}", "train again, or store float32"
        )
    return value.contiguous()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError("a checkpoint file", f"no file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError("a whole safetensors file", f"{path}: {error}", "fetch or train it again") from error
    found = metadata.get("format", "none") if isinstance(metadata, dict) else type(metadata).__name__
    if found != FORMAT:
        raise CheckpointError(f"the format {FORMAT}", f"{found} in {path}")
    if hash_tensors(state) != metadata.get("tensors_sha256"):
        raise CheckpointError(
            "weights that match their own hash", f"others in {path}", "the file was changed; fetch it again"
        )
    return state, metadata


def _build_config(config_type: type[Any], values: object, path: Path) -> object:
    """Build a frozen configuration from JSON values; lists become tuples and nested objects their dataclass."""
    if not isinstance(values, Mapping):
        raise CheckpointError(f"settings of {config_type.__name__}", f"{type(values).__name__} in {path}")
    hints = typing.get_type_hints(config_type)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise CheckpointError(f"settings of {config_type.__name__}", f"{', '.join(unknown)} in {path}")
    built = {
        key: _build_config(hints[key], value, path)
        if dataclasses.is_dataclass(hints[key])
        else (tuple(value) if isinstance(value, list) else value)
        for key, value in values.items()
    }
    for value in built.values():
        if any(isinstance(one, int) and one > _LARGEST for one in (value if isinstance(value, tuple) else (value,))):
            raise CheckpointError(f"settings of at most {_LARGEST}", f"{value} in {path}")
    return config_type(**built)


def _fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    wrong = [f"missing {key}" for key in wanted if key not in state]
    wrong += [f"unknown {key}" for key in state if key not in wanted]
    wrong += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if wrong:
        shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise CheckpointError(f"the weights of its own configuration in {path}", shown)
    # Copies: the file may be mapped into memory, and may change under our feet.
    copies = {key: state[key].to(value.dtype, copy=True) for key, value in wanted.items()}
    model.load_state_dict(copies, assign=True)
