"""Write the shipped identity network as a TFLite file, so that a camera tells people apart without torch.

`python -m pocketface.export.identity --output runtime/weights/identity_fp16.tflite` was run once; the file is shipped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from ..runtime.errors import CheckpointError
from ..runtime.models.checkpoint import load_model
from ..runtime.models.identity import MobileFaceNet
from ..runtime.weights import shipped_path
from .deploy_graph import trace, weights_sha256
from .to_tflite import Labels, write_tflite_graph


class IdentityTrunk(nn.Module):
    """MobileFaceNet between its scaling and its normalisation, both of which are left to who runs the file.

    (N, 3, 112, 112) RGB, (level - 127.5) / 128 -> (N, embedding, 1, 1), of any length, and (N, 512, 7, 7), the last
    map, from which `faces.occlusion` tells what is covered.
    """

    def __init__(self, network: MobileFaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network's layers."""
        net = self.network
        seen = net.conv2(net.blocks(net.dw_conv1(net.conv1(crops))))
        y = seen
        for linear in (net.linear7, net.linear1):  # without their empty activation, which no operator stands for
            y = linear.bn(linear.conv(y))
        return y, seen


def write_identity(path: Path, weights: Path | None = None, precision: str = "fp16") -> None:
    """Write an identity network as a TFLite file that takes any N.

    Args:
        path: the destination.
        weights: of a MobileFaceNet of ours; None takes the shipped one.
        precision: `fp32` or `fp16`.

    Raises:
        CheckpointError: weights of another network.
        OutputError: the place cannot be written to.
    """
    network, _ = load_model(shipped_path("identity") if weights is None else weights, expect="mobilefacenet")
    if not isinstance(network, MobileFaceNet):
        raise CheckpointError("a MobileFaceNet", type(network).__name__)
    graph = trace(IdentityTrunk(network))
    config = network.config
    facts = {
        "name": "identity",
        "author": "PocketFace",
        "licence": "Apache-2.0",
        "precision": precision,
        "weights_sha256": weights_sha256(graph),
        "contract": f"ArcFace crop (N, {config.rows}, {config.columns}, 3) RGB, (level - 127.5) / 128",
    }
    labels = Labels("embed", ("embedding", "map"), f"MobileFaceNet identity network, {precision}", facts)
    shape = (1, 3, config.rows, config.columns)
    write_tflite_graph(graph, [shape], path, open_axes=(0,), precision=precision, labels=labels)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m pocketface.export.identity", description=__doc__)
    parser.add_argument("--output", "-o", type=Path, required=True, help="file to write")
    parser.add_argument("--weights", type=Path, help="checkpoint of a MobileFaceNet (default: the shipped one)")
    arguments = parser.parse_args(argv)
    write_identity(arguments.output, arguments.weights)
    sys.stdout.write(f"{arguments.output}: {arguments.output.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
