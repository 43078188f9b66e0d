"""Other people's restorers, by their published weights: GFPGAN, CodeFormer, RestoreFormer (++), Real-ESRGAN.

spandrel knows the networks; this module knows how each wants to be run, which spandrel's own call does not: GFPGAN,
CodeFormer and RestoreFormer work in [-1, 1], GFPGAN draws fresh noise at every call unless told not to, and all three
know faces of 512 x 512 only. What is not in `KINDS` is refused: nobody has looked at how it wants to be run.

Source: spandrel and spandrel-extra-arches (MIT; the networks inside under their own terms), the authors' own inference.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BackendError, CheckpointError
from ..manifest import hash_artefact
from .pickled import read_pickled

INSTALL = "run: pip install 'pocketface[teachers]'"
_FACE = 512  # the side that the face networks were built for and trained on
_NATIVE_SIZE = 256
# Beside the contract's own faces, activations of hundreds of MiB a face: a CPU takes them one by one.
_AT_ONCE = {"cpu": 1}
_AT_ONCE_ELSEWHERE = 8
_PLUS_LEVEL = 4  # of the decoder, at 32 x 32 of 512 x 512, where RestoreFormer++ attends too
_PLUS_MARK = f"decoder.up.{_PLUS_LEVEL}.attn."
_PREFIX = "vqvae."  # RestoreFormer's authors publish the state of their training
_DECODER_SETTINGS = (
    "ch", "out_ch", "ch_mult", "num_res_blocks", "dropout", "in_channels", "resolution", "z_channels", "enable_mid",
    "head_size",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """How a network of one architecture is run.

    Args:
        run: the network and faces in the range that it works in -> restored faces in that range.
        centred: it works in [-1, 1]; else in [0, 1].
        size: the only side it takes, or None.
        licence: terms of code and published weights, as far as known; for people.
    """

    run: Callable[[nn.Module, Tensor], Tensor]
    centred: bool
    size: int | None
    licence: str


_FFHQ = "weights trained on FFHQ (CC BY-NC-SA 4.0)"
_BY_PUBLISHER = "weights under the terms of whoever published the file"
KINDS = {
    "GFPGAN": Kind(
        lambda network, faces: network(faces, return_rgb=False, randomize_noise=False)[0],
        centred=True,
        size=_FACE,
        licence=f"code Apache-2.0, its LICENSE names parts under non-commercial terms; {_FFHQ}",
    ),
    # 0.5 is the authors' own balance between the codebook's face and the one that is given.
    "CodeFormer": Kind(
        lambda network, faces: network(faces, weight=0.5)[0],
        centred=True,
        size=_FACE,
        licence=f"code and weights S-Lab License 1.0, non-commercial; {_FFHQ}",
    ),
    "RestoreFormer": Kind(
        lambda network, faces: network(faces)[0], centred=True, size=_FACE, licence=f"no licence stated; {_FFHQ}"
    ),
    "RestoreFormer++": Kind(
        lambda network, faces: network(faces), centred=True, size=_FACE, licence=f"no licence stated; {_FFHQ}"
    ),
    "Compact": Kind(
        lambda network, faces: network(faces),
        centred=False,
        size=None,
        licence=f"code BSD-3-Clause (Real-ESRGAN); {_BY_PUBLISHER}",
    ),
    "ESRGAN": Kind(
        lambda network, faces: network(faces),
        centred=False,
        size=None,
        licence=f"code Apache-2.0 (ESRGAN) or BSD-3-Clause (Real-ESRGAN); {_BY_PUBLISHER}",
    ),
}


@dataclass(frozen=True)
class PublicFacts:
    """What is known of a published network.

    Args:
        name: for people: the file's.
        architecture: a key of KINDS.
        scale: how much larger a super-resolver's own output is; 1 for all others.
        size: the only S it takes, or None.
        multiple: S must be a multiple of this.
        native_size: the S to use where the caller has no wish.
        licence: terms of code and weights, as far as known.
        sha256: of the file.
    """

    name: str
    architecture: str
    scale: int
    size: int | None
    multiple: int
    native_size: int
    licence: str
    sha256: str


class PublicRestorer(nn.Module):
    """(N, 3, S, S) RGB in [0, 1] -> the restored faces, same shape and range; frozen, and always in eval mode.

    A super-resolver enlarges the face, and each block of its output is averaged back into one pixel, as the authors'
    own `--outscale 1` does. Shrinking the face first would be 16 times faster and throws away what a face that is only
    mildly degraded still has (docs/teachers.md has the figures).

    Args:
        network: of the architecture that `config` names.
        config: what is known of it.
    """

    def __init__(self, network: nn.Module, config: PublicFacts) -> None:
        super().__init__()
        self.network, self.config, self._kind = network, config, KINDS[config.architecture]
        self.requires_grad_(requires_grad=False).eval()

    def train(self, mode: bool = True) -> PublicRestorer:  # noqa: ARG002, FBT001, FBT002 - torch's own signature
        """Stay in eval mode, whatever a surrounding module asks for."""
        return super().train(mode=False)

    def forward(self, faces: Tensor) -> Tensor:
        """Restore a batch, a few faces at a time."""
        at_once = _AT_ONCE.get(faces.device.type, _AT_ONCE_ELSEWHERE)
        return torch.cat([self._restore(part) for part in faces.split(at_once)])

    def _restore(self, faces: Tensor) -> Tensor:
        if self._kind.centred:
            restored = (self._kind.run(self.network, faces * 2 - 1) + 1) / 2
        else:
            restored = self._kind.run(self.network, faces)
        restored = restored.clamp(0, 1)
        return restored if self.config.scale == 1 else F.avg_pool2d(restored, self.config.scale)


def load_public(path: Path, device: str = "cpu") -> tuple[PublicRestorer, PublicFacts]:
    """Rebuild a published network from its file.

    Args:
        path: a `.pth`, `.pt` or `.ckpt` file. Nothing but tensors and plain containers is unpickled.
        device: torch's name of the device to put it on.

    Raises:
        BackendError: spandrel is not installed, or the architecture is none of KINDS.
        CheckpointError: no file of weights, or one that no architecture fits.
    """
    spandrel = import_spandrel()
    state = read_state(path, spandrel)
    try:
        architecture, network, scale, multiple = _build(state, spandrel)
    except spandrel.UnsupportedModelError as error:
        raise CheckpointError("weights of a network that spandrel knows", f"others in {path}", _advice()) from error
    except (BackendError, CheckpointError):
        raise
    except Exception as error:  # wrong shapes and missing keys arrive as anything from KeyError to RuntimeError
        raise CheckpointError(
            "weights that fit their architecture", f"{path}: {first_line(error)}", "fetch the file again"
        ) from error
    kind = KINDS[architecture]
    facts = PublicFacts(
        path.stem,
        architecture,
        scale,
        kind.size,
        multiple,
        kind.size or _NATIVE_SIZE,
        kind.licence,
        hash_artefact(path),
    )
    return PublicRestorer(network.float().to(device), facts), facts


def import_spandrel() -> Any:
    """Return spandrel, with its companion's architectures where that is installed.

    Raises:
        BackendError: it is not installed, or torchvision does not fit torch.
    """
    try:
        spandrel = importlib.import_module("spandrel")
    except ImportError as error:
        raise BackendError("spandrel, which knows published networks", f"no {error.name}", INSTALL) from error
    except RuntimeError as error:  # torchvision's, where it was built for another torch
        raise BackendError(
            "a torchvision of torch's own build",
            first_line(error),
            "install both from one place, in a new environment",
        ) from error
    try:
        importlib.import_module("spandrel_extra_arches").install(ignore_duplicates=True)
    except ModuleNotFoundError as error:
        # Its licences are not everybody's: all but CodeFormer works without it, and `_advice` names it.
        if error.name != "spandrel_extra_arches":
            raise
    return spandrel


def read_state(path: Path, spandrel: Any) -> dict[str, Tensor]:
    """Read a pickle's tensors by name, without the wrappings and prefixes of the training that wrote them.

    Raises:
        CheckpointError: damaged, or something else than tensors by name.
    """
    # Not with spandrel's own reader, which hands `.pt` files to torch.jit.load: that may run code which they bring.
    state = spandrel.canonicalize_state_dict(read_pickled(path))
    inner = {key[len(_PREFIX) :]: value for key, value in state.items() if str(key).startswith(_PREFIX)}
    state = inner or state  # RestoreFormer's training keeps its losses' networks beside it
    if not state or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise CheckpointError("a dictionary of tensors by name", f"something else in {path}")
    return state


def _build(state: Mapping[str, Tensor], spandrel: Any) -> tuple[str, nn.Module, int, int]:
    """Name the architecture, build it, and tell its scale and what S must be divisible by."""
    plus = any(key.startswith(_PLUS_MARK) for key in state)
    known = {key: value for key, value in state.items() if not key.startswith(_PLUS_MARK)}
    descriptor = spandrel.ModelLoader().load_from_state_dict(known)
    architecture = str(descriptor.architecture.id)
    if plus and architecture == "RestoreFormer":
        return "RestoreFormer++", _RestoreFormerPlus(descriptor.model, state), 1, _FACE
    if architecture not in KINDS:
        raise BackendError(
            f"a network of {', '.join(KINDS)}",
            f"one of {architecture}",
            "export it to ONNX and state its range in a side file (docs/teachers.md)",
        )
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise CheckpointError(
            "a network for RGB", f"{descriptor.input_channels} -> {descriptor.output_channels} channels"
        )
    multiple = KINDS[architecture].size or descriptor.size_requirements.multiple_of
    return architecture, descriptor.model, int(descriptor.scale), int(multiple)


class _RestoreFormerPlus(nn.Module):
    """RestoreFormer++ out of RestoreFormer's parts: four heads, and a decoder that attends at 32 x 32 as well.

    Source: Wang et al. 2023, RestoreFormer++ (arXiv 2308.07228) and the configuration that its authors publish.

    Args:
        plain: a RestoreFormer of the same widths, for its settings and classes.
        state: all weights.
    """

    def __init__(self, plain: Any, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        settings = {**plain.hyperparameters, "head_size": 4}
        self.network = type(plain)(**settings)
        shape = {name: settings[name] for name in _DECODER_SETTINGS}
        self.network.decoder = type(plain.decoder)(attn_resolutions=(16, 32), **shape)
        self.network.load_state_dict(dict(state))

    def forward(self, faces: Tensor) -> Tensor:
        """(N, 3, 512, 512) in [-1, 1] -> the same."""
        quantised, _, _, features = self.network.encode(faces)
        # spandrel's decoder asks for features by RestoreFormer's names; here the encoder has no attention at 32 x 32.
        features[f"block_{_PLUS_LEVEL}_atten"] = features[f"block_{_PLUS_LEVEL}"]
        return self.network.decode(quantised, features)


def _advice() -> str:
    try:
        importlib.import_module("spandrel_extra_arches")
    except ModuleNotFoundError:
        return f"CodeFormer needs spandrel-extra-arches: {INSTALL}"
    return "GPEN and others: export to ONNX (docs/teachers.md)"


def first_line(error: Exception) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
