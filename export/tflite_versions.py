"""Which TensorFlow Lite first knew each operator that we write, by its version.

Source: tensorflow/lite/tools/versioning/runtime_version.cc (Apache-2.0), the rows for our operators.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..runtime.errors import ExportError

_FIRST = {
    ("ADD", 1): "1.5.0",
    ("ADD", 2): "1.14.0",
    ("CONV_2D", 1): "1.5.0",
    ("CONV_2D", 3): "1.14.0",
    ("CONV_2D", 5): "2.4.0",
    ("DEPTHWISE_CONV_2D", 1): "1.5.0",
    ("DEPTHWISE_CONV_2D", 3): "1.14.0",
    ("DEPTH_TO_SPACE", 1): "2.1.0",
    ("DEPTH_TO_SPACE", 2): "2.5.0",
    ("DEQUANTIZE", 1): "1.13.1",
    ("DEQUANTIZE", 2): "1.14.0",
    ("DEQUANTIZE", 3): "1.15.0",
    ("FULLY_CONNECTED", 1): "1.5.0",
    ("FULLY_CONNECTED", 4): "1.14.0",
    ("LEAKY_RELU", 1): "1.13.1",
    ("MAX_POOL_2D", 1): "1.5.0",
    ("MAX_POOL_2D", 2): "1.14.0",
    ("MINIMUM", 1): "1.14.0",
    ("MINIMUM", 2): "1.14.0",
    ("MUL", 1): "1.5.0",
    ("MUL", 2): "1.14.0",
    ("PAD", 1): "1.5.0",
    ("PAD", 2): "1.14.0",
    ("PRELU", 1): "1.8.0",
    ("QUANTIZE", 1): "1.14.0",
    ("RELU", 1): "1.5.0",
    ("RELU", 2): "2.1.0",
    ("RESHAPE", 1): "1.5.0",
    ("RESIZE_BILINEAR", 3): "2.2.0",
    ("SOFTMAX", 1): "1.5.0",
    ("SOFTMAX", 2): "1.14.0",
}


def oldest_runtime(operators: Iterable[tuple[str, int]]) -> str:
    """The first version of TensorFlow Lite that knows all of these operators.

    Args:
        operators: names and versions.

    Raises:
        ExportError: one that stands in no row, or none at all.
    """
    used = list(operators)
    unknown = [f"{name} version {version}" for name, version in used if (name, version) not in _FIRST]
    if unknown or not used:
        raise ExportError("operators of known age", ", ".join(unknown) or "none", "add a row to tflite_versions")
    return max((_FIRST[operator] for operator in used), key=lambda version: [int(part) for part in version.split(".")])
