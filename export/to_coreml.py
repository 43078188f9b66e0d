"""Writes the deploy graph as a Core ML package (ML program, iOS 16 and macOS 13 onwards).

The program is built node by node from the graph: coremltools' route through TorchScript is deprecated on torch's side,
tested only up to torch 2.7 on its own, and renames every tensor.
"""

from __future__ import annotations

import contextlib
import io
import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from ..runtime.atomic import replacing_folder
from ..runtime.backends.mlpackage import import_coremltools, without_remarks
from ..runtime.errors import ExportError
from ..runtime.restorer import STRENGTH
from .deploy_graph import IMAGE, RESTORED, describe, has_strength, module_of

PRECISIONS = ("fp32", "fp16", "int8", "palette8")
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
# coremltools' own metadata fields; other facts become user-defined ones.
_FIELDS = {"author": "author", "licence": "license", "description": "short_description", "version": "version"}


def write_coreml(
    graph: fx.GraphModule,
    sizes: int | Sequence[int],
    precision: str,
    path: Path,
    *,
    images: bool = False,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write an `.mlpackage` with input `image` and output `restored`, (1, 3, S, S) float32 RGB in [0, 1].

    A second input, `strength`, (1,) float32, may be left out and is 1 then.

    Args:
        graph: from `build_deploy_graph`.
        sizes: S; several make a package that takes any of them, the first by default.
        precision: `fp32`; `fp16`, weights and arithmetic; `int8`, 8-bit weights (linear, symmetric, one scale an output
            channel) and fp16 arithmetic, which is what the Neural Engine runs; `palette8`, the same with one table of
            256 evenly spaced values a layer.
        path: the destination, a folder ending in `.mlpackage`.
        images: take and give RGB pixel buffers instead, scaled and rounded inside; one size only.
        facts: goes into the package's metadata; `author`, `licence`, `description` and `version` into its fields.

    Raises:
        BackendError: coremltools is not installed.
        ExportError: an operation that is not translated here, an unknown precision, or images of several sizes.
        OutputError: the place cannot be written to.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"a precision of {', '.join(PRECISIONS)}", f"'{precision}'")
    sizes = [sizes] if isinstance(sizes, int) else list(sizes)
    if images and len(sizes) > 1:
        raise ExportError("one size for images", ", ".join(map(str, sizes)))
    tools = import_coremltools()
    with quiet():
        model = tools.convert(
            _build_program(graph, sizes, images=images),
            inputs=_flexible_input(sizes, strength=has_strength(graph)),
            convert_to="mlprogram",
            minimum_deployment_target=tools.target.iOS16,
            compute_precision=tools.precision.FLOAT32 if precision == "fp32" else tools.precision.FLOAT16,
            skip_model_load=True,
        )
        if precision in ("int8", "palette8"):
            model = _compress(model, precision)
        if has_strength(graph):
            model = _let_strength_out(model)
        if images:
            model = _declare_images(model, sizes[0])
        _describe(model, facts or {}, images=images)
        with replacing_folder(path) as temporary:
            inside = temporary / path.name
            model.save(str(inside))
            for file in inside.rglob("*"):  # some are made readable by their owner only
                file.chmod(_FOLDER_MODE if file.is_dir() else _FILE_MODE)
            for file in list(inside.iterdir()):
                file.rename(temporary / file.name)
            inside.rmdir()


def _build_program(graph: fx.GraphModule, sizes: Sequence[int], *, images: bool) -> Any:
    tools, mil = import_coremltools(), import_coremltools("coremltools.converters.mil.mil")
    builder = import_coremltools("coremltools.converters.mil").Builder
    sides = (sizes[0], sizes[0]) if len(sizes) == 1 else (mil.get_new_symbol(), mil.get_new_symbol())
    specifications = [builder.TensorSpec((1, 3, *sides), mil.types.fp32)]
    if not has_strength(graph):

        @builder.program(input_specs=specifications, opset_version=tools.target.iOS16)
        def plain(image: Any) -> Any:
            return _compute(builder, graph, {IMAGE: image}, images=images)

        return plain

    specifications.append(builder.TensorSpec((1,), mil.types.fp32))

    @builder.program(input_specs=specifications, opset_version=tools.target.iOS16)
    def restorer(image: Any, strength: Any) -> Any:
        return _compute(builder, graph, {IMAGE: image, STRENGTH: strength}, images=images)

    return restorer


def _compute(builder: Any, graph: fx.GraphModule, values: dict[str, Any], *, images: bool) -> Any:
    """Write all nodes, and around them the scaling that images need; returns the output."""
    if images:
        values[IMAGE] = builder.mul(x=values[IMAGE], y=np.float32(1 / 255), name="from_grey_levels")
    result = values[IMAGE]
    for node in graph.graph.nodes:
        if node.op in ("call_module", "call_function"):
            name = f"{node.name}_face" if images and node.name == RESTORED else node.name
            result = values[node.name] = _translate(builder, graph, node, values, name)
    if not images:
        return result
    # Whole numbers: whether Core ML rounds or cuts when it fills the pixel buffer makes no difference to them.
    return builder.round(x=builder.mul(x=result, y=np.float32(255), name="to_grey_levels"), name=RESTORED)


def _flexible_input(sizes: Sequence[int], *, strength: bool) -> Any:
    """What coremltools must be told of an input of several sizes; None where the program says it all."""
    if len(sizes) == 1:
        return None
    tools = import_coremltools()
    shapes = [(1, 3, size, size) for size in sizes]
    image = tools.TensorType(name=IMAGE, shape=tools.EnumeratedShapes(shapes=shapes, default=shapes[0]))
    return [image, tools.TensorType(name=STRENGTH, shape=(1,))] if strength else [image]


def _let_strength_out(model: Any) -> Any:
    """Declare the strength as an input that may be left out, and is 1 then."""
    tools, spec = import_coremltools(), model.get_spec()
    kind = next(feature for feature in spec.description.input if feature.name == STRENGTH).type
    kind.isOptional = True
    kind.multiArrayType.floatDefaultValue = 1.0
    return tools.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _declare_images(model: Any, size: int) -> Any:
    """Declare both ends as RGB images; the program behind them computes in grey levels already."""
    tools, spec = import_coremltools(), model.get_spec()
    for feature in (spec.description.input[0], spec.description.output[0]):
        kind = feature.type.imageType
        kind.width = kind.height = size
        kind.colorSpace = kind.RGB
    return tools.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _translate(builder: Any, graph: fx.GraphModule, node: fx.Node, values: Mapping[str, Any], name: str) -> Any:
    """Translate one node; `name` is what its result is called."""
    module = module_of(graph, node)
    given = [values[argument.name] for argument in node.args if isinstance(argument, fx.Node)]
    if isinstance(module, nn.Conv2d):
        return _convolution(builder, module, name, given[0])
    if isinstance(module, nn.LeakyReLU):
        return builder.leaky_relu(x=given[0], alpha=np.float32(module.negative_slope), name=name)
    if isinstance(module, nn.PixelShuffle):
        return builder.pixel_shuffle(x=given[0], upscale_factor=module.upscale_factor, name=name)
    if isinstance(module, nn.Upsample):
        return builder.upsample_bilinear(
            x=given[0], scale_factor_height=2.0, scale_factor_width=2.0, align_corners=False, name=name
        )
    if node.target is operator.add:
        return builder.add(x=given[0], y=given[1], name=name)
    if node.target is operator.mul:
        return builder.mul(x=given[0], y=given[1], name=name)
    if node.target is torch.clamp:
        return builder.clip(x=given[0], alpha=np.float32(0), beta=np.float32(1), name=name)
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


def _compress(model: Any, precision: str) -> Any:
    optimise = import_coremltools("coremltools.optimize.coreml")
    # Every layer, however small: what is left out saves a few bytes' worth of error and costs a second kind of layer.
    if precision == "palette8":
        settings = optimise.OpPalettizerConfig(mode="custom", lut_function=_table, weight_threshold=0)
        return optimise.palettize_weights(model, optimise.OptimizationConfig(global_config=settings))
    settings = optimise.OpLinearQuantizerConfig(mode="linear_symmetric", dtype=np.int8, weight_threshold=0)
    return optimise.linear_quantize_weights(model, optimise.OptimizationConfig(global_config=settings))


def _table(weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """A table of 256 evenly spaced values, and the nearest of them for every weight.

    coremltools' own even spacing places some weights beside a further entry (measured: 0.7 of a gap away).
    """
    flat = weights.astype(np.float32).reshape(-1)
    low, high = float(flat.min()), float(flat.max())
    gap = max(high - low, 1e-12) / 255
    table = (low + gap * np.arange(256)).astype(weights.dtype).reshape(-1, 1)
    return table, np.clip(np.rint((flat - low) / gap), 0, 255).astype(np.uint8)


def _describe(model: Any, facts: Mapping[str, str], *, images: bool) -> None:
    for key, value in facts.items():
        if key in _FIELDS:
            setattr(model, _FIELDS[key], value)
        else:
            model.user_defined_metadata[key] = value
    form = "an RGB image of S x S pixels" if images else "RGB in [0, 1], (1, 3, S, S)"
    model.input_description[IMAGE] = f"one face, aligned by five points to the FFHQ template, {form}"
    if STRENGTH in {feature.name for feature in model.get_spec().description.input}:
        model.input_description[STRENGTH] = "0 gives the face back, 1 restores in full, which is the default"
    model.output_description[RESTORED] = f"the same face restored, {form}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Convert in silence: no progress bars, which have no switch, no remarks, no word of temporary folders tidied."""
    with without_remarks(), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
        yield
