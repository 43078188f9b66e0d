"""Judges of who is in a picture, and the one door to all of them: `open_judge`.

A judge takes aligned faces of any size, resamples them to the alignment that its network was trained on, and gives
unit-length embeddings; identity distance is 1 - cosine. Judge by a network that trained no weights under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends.pytorch import find_device
from ..errors import BackendError, CheckpointError
from ..faces.align import ARCFACE, FFHQ, SPHEREFACE, Template
from ..weights import find_checkpoint
from .checkpoint import load_model
from .dlib_resnet import DLIB, load_dlib_resnet
from .identity import MobileFaceNet, MobileFaceNetConfig, faces_to_identity_crops
from .iresnet import load_iresnet
from .pickled import read_pickled

DLIB_NAME = "dlib"
_BATCH = 32


class IdentityJudge:
    """An identity network behind the contract of restorers: aligned faces, any S, numpy.

    Args:
        network: crops (N, 3, rows, columns) RGB in [0, 1] -> (N, D), unit length; a module must be in eval mode.
        template: the alignment that it was trained on.
        mirrored: also embed the mirror image and join both, as some authors evaluate.
        device: where the network takes its crops.
    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], template: Template, *, mirrored: bool = False, device: str = "cpu"
    ) -> None:
        self.network = network
        self.template = template
        self.mirrored = mirrored
        self.device = device

    def __call__(self, faces: NDArray[np.float32], aligned: Template = FFHQ) -> NDArray[np.float32]:
        """(N, 3, S, S) in [0, 1] -> (N, D), unit length.

        Args:
            faces: RGB.
            aligned: the template that they are aligned with, as a square crop.
        """
        batches = torch.from_numpy(np.ascontiguousarray(faces, np.float32)).split(_BATCH)
        with torch.inference_mode():
            found = [
                self.embed_crops(faces_to_identity_crops(batch, self.template, aligned))
                for batch in batches
                if len(batch)
            ]
            if not found:
                found = [self.embed_crops(torch.zeros(1, 3, self.template.height, self.template.width))[:0]]
        return torch.cat(found).numpy()

    def embed_crops(self, crops: Tensor) -> Tensor:
        """Embed crops that already have the network's own alignment: (N, 3, rows, columns) -> (N, D), unit length."""
        crops = crops.to(self.device)
        embeddings = self.network(crops)
        if self.mirrored:
            embeddings = torch.cat([embeddings, self.network(crops.flip(3))], 1) / math.sqrt(2)
        return embeddings.cpu()


def open_judge(path: str | Path | None = None, device: str = "cpu") -> IdentityJudge:
    """Open an identity network to judge with, by name or by its file's suffix.

    Args:
        path: None or `identity` for the shipped MobileFaceNet; `dlib` for dlib's ResNet; a file: `.safetensors` for a
            checkpoint of ours, `.ckpt` in the format of `load_xiaoccer`, `.pt` or `.pth` for insightface's IResNet,
            `.onnx` for any recogniser (see `onnx_embedder` on how its input convention is stated).
        device: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` is the best that PyTorch has, and `cpu` for ONNX files.

    Raises:
        InputError: a side file of an ONNX file with an unknown key or an impossible value.
        CheckpointError: neither a name nor one of these suffixes, no such file, or one of another network.
        BackendError: dlib's weights or ONNX Runtime are not installed, the engine refuses the file or lacks the device.
    """
    text = "identity" if path is None else str(path)
    file = find_checkpoint(text)
    if file.suffix == ".onnx":
        return _open_onnx(file, device)
    device = str(find_device(device))
    if text == DLIB_NAME:
        return IdentityJudge(load_dlib_resnet().to(device), DLIB, device=device)
    if file.suffix == ".ckpt":
        return load_xiaoccer(file, device)
    if file.suffix in (".pt", ".pth"):
        return IdentityJudge(load_iresnet(file).to(device), ARCFACE, device=device)
    if file.suffix == ".safetensors":
        network, _ = load_model(file, expect="mobilefacenet", device=device)
        return IdentityJudge(network, ARCFACE, device=device)
    raise CheckpointError("'identity', 'dlib', or a file in .safetensors, .ckpt, .pt, .pth or .onnx", f"'{text}'")


def load_xiaoccer(path: Path, device: str = "cpu") -> IdentityJudge:
    """Load a PyTorch checkpoint of the public MobileFaceNet for 112 x 96 SphereFace crops, as a judge.

    Args:
        path: a file with the weights under `net_state_dict`.
        device: torch's name of the device to run on.

    Raises:
        CheckpointError: no such file, not such a file, or keys and shapes of another network.

    Source: Xiaoccer/MobileFaceNet_Pytorch (no licence stated: for evaluation only, never shipped, never a loss).
    """
    state = read_pickled(path).get("net_state_dict")
    if not isinstance(state, dict):
        raise CheckpointError("weights under 'net_state_dict'", f"none in {path}")
    network = MobileFaceNet(MobileFaceNetConfig(SPHEREFACE.height, SPHEREFACE.width))
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        lines = [*str(error).split("\n"), ""]
        raise CheckpointError(f"the weights of a 112 x 96 MobileFaceNet in {path}", lines[1].strip()) from error
    return IdentityJudge(network.eval().to(device), SPHEREFACE, mirrored=True, device=device)


def _open_onnx(file: Path, device: str) -> IdentityJudge:
    try:
        from .onnx_embedder import OnnxEmbedder
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise BackendError("onnxruntime, to judge by an ONNX file", "none", "pip install onnxruntime") from error
    network = OnnxEmbedder(file, device)
    return IdentityJudge(network, network.template)
