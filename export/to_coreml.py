"""Writes the deploy graph as a Core ML package (ML program, iOS 16 and macOS 13 onwards).

The program is built node by node from the graph: coremltools' route through TorchScript is deprecated on torch's side,
tested only up to torch 2.7 on its own, and renames every tensor.
"""

from __future__ import annotations

import contextlib
import io
import operator
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ..runtime.atomic import replacing_folder
from ..runtime.backends.mlpackage import import_coremltools, without_remarks
from ..runtime.errors import ExportError
from .deploy_graph import IMAGE, describe, module_of

PRECISIONS = ("fp32", "fp16", "int8")
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
# coremltools' own metadata fields; other facts become user-defined ones.
_FIELDS = {"author": "author", "licence": "license", "description": "short_description", "version": "version"}


def write_coreml(
    graph: fx.GraphModule, size: int, precision: str, path: Path, *, facts: Mapping[str, str] | None = None
) -> None:
    """Write an `.mlpackage` with input `image` and output `restored`, (1, 3, S, S) float32 RGB in [0, 1].

    Args:
        graph: from `build_deploy_graph`.
        size: S.
        precision: `fp32`; `fp16`, weights and arithmetic; `int8`, 8-bit weights (linear, symmetric, one scale an output
            channel) and fp16 arithmetic, which is what the Neural Engine runs.
        path: the destination, a folder ending in `.mlpackage`.
        facts: goes into the package's metadata; `author`, `licence`, `description` and `version` into its fields.

    Raises:
        BackendError: coremltools is not installed.
        ExportError: an operation that is not translated here, or an unknown precision.
        OutputError: the place cannot be written to.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"a precision of {', '.join(PRECISIONS)}", f"'{precision}'")
    tools = import_coremltools()
    with quiet():
        model = tools.convert(
            _build_program(graph, size),
            convert_to="mlprogram",
            minimum_deployment_target=tools.target.iOS16,
            compute_precision=tools.precision.FLOAT32 if precision == "fp32" else tools.precision.FLOAT16,
            skip_model_load=True,
        )
        if precision == "int8":
            model = _compress(model)
        _describe(model, facts or {})
        with replacing_folder(path) as temporary:
            inside = temporary / path.name
            model.save(str(inside))
            for file in inside.rglob("*"):  # some are made readable by their owner only
                file.chmod(_FOLDER_MODE if file.is_dir() else _FILE_MODE)
            for file in list(inside.iterdir()):
                file.rename(temporary / file.name)
            inside.rmdir()


def _build_program(graph: fx.GraphModule, size: int) -> Any:
    tools = import_coremltools()
    builder = import_coremltools("coremltools.converters.mil").Builder
    float32 = import_coremltools("coremltools.converters.mil.mil").types.fp32
    specification = builder.TensorSpec((1, 3, size, size), float32)

    @builder.program(input_specs=[specification], opset_version=tools.target.iOS16)
    def restorer(image: Any) -> Any:
        values = {IMAGE: image}
        result = image
        for node in graph.graph.nodes:
            if node.op in ("call_module", "call_function"):
                result = values[node.name] = _translate(builder, graph, node, values)
        return result

    return restorer


def _translate(builder: Any, graph: fx.GraphModule, node: fx.Node, values: Mapping[str, Any]) -> Any:
    """Translate one node."""
    module = module_of(graph, node)
    given = [values[argument.name] for argument in node.args if isinstance(argument, fx.Node)]
    if isinstance(module, nn.Conv2d):
        return _convolution(builder, module, node.name, given[0])
    if isinstance(module, nn.LeakyReLU):
        return builder.leaky_relu(x=given[0], alpha=np.float32(module.negative_slope), name=node.name)
    if isinstance(module, nn.PixelShuffle):
        return builder.pixel_shuffle(x=given[0], upscale_factor=module.upscale_factor, name=node.name)
    if isinstance(module, nn.Upsample):
        return builder.upsample_bilinear(
            x=given[0], scale_factor_height=2.0, scale_factor_width=2.0, align_corners=False, name=node.name
        )
    if node.target is operator.add:
        return builder.add(x=given[0], y=given[1], name=node.name)
    if node.target is torch.clamp:
        return builder.clip(x=given[0], alpha=np.float32(0), beta=np.float32(1), name=node.name)
    raise ExportError("an operation of the deploy graph", describe(graph, node), "add it to the Core ML writer")


def _convolution(builder: Any, module: nn.Conv2d, name: str, given: Any) -> Any:
    top, left = (int(side) for side in module.padding)
    constants = {key: value.detach().numpy() for key, value in module.named_parameters()}
    return builder.conv(
        x=given,
        **constants,
        strides=list(module.stride),
        pad_type="custom",
        pad=[top, top, left, left],
        dilations=list(module.dilation),
        groups=module.groups,
        name=name,
    )


def _compress(model: Any) -> Any:
    optimise = import_coremltools("coremltools.optimize.coreml")
    # Every layer, however small: what is left out saves a few bytes' worth of error and costs a second kind of layer.
    settings = optimise.OpLinearQuantizerConfig(mode="linear_symmetric", dtype=np.int8, weight_threshold=0)
    return optimise.linear_quantize_weights(model, optimise.OptimizationConfig(global_config=settings))


def _describe(model: Any, facts: Mapping[str, str]) -> None:
    for key, value in facts.items():
        if key in _FIELDS:
            setattr(model, _FIELDS[key], value)
        else:
            model.user_defined_metadata[key] = value
    model.input_description[IMAGE] = "aligned face, RGB in [0, 1], (1, 3, S, S)"
    model.output_description["restored"] = "restored face, RGB in [0, 1], (1, 3, S, S)"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Convert in silence: no progress bars, which have no switch, no remarks, no word of temporary folders tidied."""
    with without_remarks(), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
        yield
