"""One function a kind of layer: how it is written with TFLite's operators.

TFLite keeps images as (N, H, W, C), so that convolution weights are turned once, here, and no operator transposes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import fx, nn

from .deploy_graph import convolution_weights, module_of, shuffle_after
from .quantise import quantise_layer
from .tflite_lowering import Lowering, Shape, is_unit_clamp

_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID


def lower(state: Lowering, node: fx.Node) -> None:
    """Write one node.

    Raises:
        ExportError: an operation or setting that has no operator here; names node and module.
    """
    module = module_of(state.graph, node)
    write = _FUNCTIONS.get(node.target) if module is None else _MODULES.get(type(module))
    levels = state.in_levels(node)
    if write is None or (levels and write not in _INT8):
        known = sorted(kind.__name__ for kind, write in _MODULES.items() if not levels or write in _INT8)
        raise state.refuse(node, f"one of {', '.join(known)}, addition, clamp to [0, 1] for TFLite {state.precision}")
    write(state, node, module)


def _convolution(state: Lowering, node: fx.Node, module: nn.Conv2d) -> None:
    depthwise = module.groups == module.in_channels and module.groups > 1
    if module.padding_mode != "zeros" or (module.groups > 1 and not depthwise):
        raise state.refuse(node, "a convolution that is ungrouped or depthwise and pads with zeros")
    weights, bias = convolution_weights(state.graph, node, module)
    turned = weights[:, 0].transpose(1, 2, 0)[None] if depthwise else weights.transpose(0, 2, 3, 1)
    given, padding = _pad(state, node, module)
    inputs = [given, *_add_layer(state, node, np.ascontiguousarray(turned), bias, 3 if depthwise else 0)]
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding, options.fusedActivationFunction = padding, state.fuse_activation(node)
    options.strideH, options.strideW = module.stride
    options.dilationHFactor, options.dilationWFactor = module.dilation
    if isinstance(options, schema.DepthwiseConv2DOptionsT):
        options.depthMultiplier = module.out_channels // module.in_channels
    state.compute(node, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, options)


def _add_layer(
    state: Lowering, node: fx.Node, weights: NDArray[np.float32], bias: NDArray[np.float32], axis: int
) -> tuple[int, int]:
    """Add a layer's weights and bias as constants, in the precision asked for."""
    name = str(node.target)
    if state.precision == "dynamic8" and axis == 0:  # XNNPACK leaves depthwise layers of this kind to slow kernels
        layer = quantise_layer(weights, np.zeros_like(bias), axis, 1.0)
        levels = state.builder.constant(f"{name}.weight", layer.weights, layer.weight_quantization)
        return levels, state.builder.constant(f"{name}.bias", bias)
    if not state.in_levels(node):  # biases are few: they stay float32 in fp16 files
        return state.add_weights(f"{name}.weight", weights), state.builder.constant(f"{name}.bias", bias)
    input_scale = float(state.scales[node.all_input_nodes[0]].scales[0])
    layer = quantise_layer(weights, bias, axis, input_scale)
    return (
        state.builder.constant(f"{name}.weight", layer.weights, layer.weight_quantization),
        state.builder.constant(f"{name}.bias", layer.bias, layer.bias_quantization),
    )


def _pad(state: Lowering, node: fx.Node, module: nn.Conv2d) -> tuple[int, int]:
    """Return what a convolution should read and the padding it should be told.

    With stride 1, TFLite's SAME pads as PyTorch's half kernel does; with more it pads less at the start, so that an
    operator of its own has to do it.
    """
    given = state.input_of(node)
    if module.padding == "same":
        return given, _SAME
    if module.padding == "valid" or tuple(module.padding) == (0, 0):
        return given, _VALID
    rows, columns = (int(side) for side in module.padding)
    half = tuple(d * (k - 1) / 2 for d, k in zip(module.dilation, module.kernel_size, strict=True))
    if tuple(module.stride) == (1, 1) and half == (rows, columns):
        return given, _SAME
    amounts = np.array([[0, 0], [rows, rows], [columns, columns], [0, 0]], np.int32)
    margins = state.builder.constant(f"{node.name}.padding", amounts)
    source = node.all_input_nodes[0]
    shape = _padded(state.shapes[source], rows, columns)
    padded = state.add_output(source, f"_padded_for_{node.name}", shape, levels=state.in_levels(node))
    state.append(node, "PAD", [given, margins], padded, schema.PadOptionsT())
    return padded, _VALID


def _padded(shape: Shape, rows: int, columns: int) -> Shape:
    more = (0, 2 * rows, 2 * columns, 0)
    sizes = tuple(size + extra for size, extra in zip(shape.sizes, more, strict=True))
    return Shape(sizes, tuple(-1 if open_ == -1 else size for open_, size in zip(shape.signature, sizes, strict=True)))


def _leaky_relu(state: Lowering, node: fx.Node, module: nn.LeakyReLU) -> None:
    options = schema.LeakyReluOptionsT()
    options.alpha = module.negative_slope
    state.compute(node, "LEAKY_RELU", [state.input_of(node)], options)


def _prelu(state: Lowering, node: fx.Node, module: nn.PReLU) -> None:
    slopes = module.weight.detach().numpy()
    image = len(state.shapes[node].sizes) == 4
    alpha = state.add_weights(f"{node.target}.weight", slopes.reshape(1, 1, -1) if image else slopes)
    state.compute(node, "PRELU", [state.input_of(node), alpha])


def _relu(state: Lowering, node: fx.Node, _: nn.ReLU) -> None:
    if node in state.fused:
        state.tensors[node] = state.input_of(node)
    else:
        state.compute(node, "RELU", [state.input_of(node)])


def _clamp(state: Lowering, node: fx.Node, _: None) -> None:
    """Clamp to [0, 1]: a fused ReLU and a minimum; TFLite's own RELU_0_TO_1 is unknown to old runtimes."""
    if not is_unit_clamp(node):
        raise state.refuse(node, "a clamp to [0, 1]")
    given = node.all_input_nodes[0]
    if state.in_levels(node):  # the scale chosen for both ends where the clamp does
        if not state.scales[given].equals(state.scales[node]):
            raise state.refuse(node, "a clamp that alone reads a convolution, addition or activation")
        state.tensors[node] = state.tensors[given]
        return
    lowest = state.read(given, node)
    if node not in state.fused:
        lowest = state.add_output(node, "_above_zero")
        state.append(node, "RELU", [state.read(given, node)], lowest)
    one = state.builder.constant(f"{node.name}.high", np.ones(1, np.float32))
    state.compute(node, "MINIMUM", [lowest, one], schema.MaximumMinimumOptionsT())


def _addition(state: Lowering, node: fx.Node, _: None) -> None:
    given = node.all_input_nodes
    operands = [argument for argument in node.args if isinstance(argument, fx.Node)]
    if len(operands) != 2 or node.kwargs or len({state.shapes[one].sizes for one in given}) != 1:
        raise state.refuse(node, "an addition of two tensors of one shape")
    options = schema.AddOptionsT()
    options.fusedActivationFunction = state.fuse_activation(node)
    state.compute(node, "ADD", [state.read(operand, node) for operand in operands], options)


def _multiplication(state: Lowering, node: fx.Node, _: None) -> None:
    """Multiply by the strength, one number for all values; TFLite broadcasts it."""
    options = schema.MulOptionsT()
    state.compute(node, "MUL", [state.read(factor, node) for factor in node.all_input_nodes], options)


def _upsample(state: Lowering, node: fx.Node, module: nn.Upsample) -> None:
    shape = state.shapes[node]
    if module.mode != "bilinear" or module.align_corners or -1 in shape.signature[1:3]:
        raise state.refuse(node, "bilinear upsampling without aligned corners, of a fixed size")
    size = state.builder.constant(f"{node.name}.size", np.array(shape.sizes[1:3], np.int32))
    options = schema.ResizeBilinearOptionsT()
    options.halfPixelCenters = True
    state.compute(node, "RESIZE_BILINEAR", [state.input_of(node), size], options)


def _pixel_shuffle(state: Lowering, node: fx.Node, module: nn.PixelShuffle) -> None:
    source = node.all_input_nodes[0]
    if not isinstance(module_of(state.graph, source), nn.Conv2d) or shuffle_after(state.graph, source) == 1:
        raise state.refuse(node, "a pixel shuffle that alone reads a convolution, whose channels are reordered for it")
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = module.upscale_factor
    state.compute(node, "DEPTH_TO_SPACE", [state.input_of(node)], options)


def _max_pool(state: Lowering, node: fx.Node, module: nn.MaxPool2d) -> None:
    kernel, stride, padding, dilation = (
        _pair(value) for value in (module.kernel_size, module.stride, module.padding, module.dilation)
    )
    if padding != (0, 0) or dilation != (1, 1):
        raise state.refuse(node, "a maximum pooling without padding or dilation (ceil_mode is supported)")
    options = schema.Pool2DOptionsT()
    options.filterHeight, options.filterWidth = kernel
    options.strideH, options.strideW = stride
    options.padding = _pooling_padding(state, node, kernel, stride) if module.ceil_mode else _VALID
    state.compute(node, "MAX_POOL_2D", [state.input_of(node)], options)


def _pooling_padding(state: Lowering, node: fx.Node, kernel: tuple[int, int], stride: tuple[int, int]) -> int:
    """What TFLite must be told for PyTorch's `ceil_mode`, which adds windows at the end and never at the start."""
    if kernel == stride and max(kernel) <= 2:
        return _SAME  # whatever the size, at most one pixel is lacking, and SAME lets it lack at the end
    shape = state.shapes[node.all_input_nodes[0]]
    sides = list(zip(shape.sizes[1:3], state.shapes[node].sizes[1:3], kernel, stride, strict=True))
    if -1 not in shape.signature[1:3]:
        if all((size - window) // step + 1 == count for size, count, window, step in sides):
            return _VALID
        lacking = [(count - 1) * step + window - size for size, count, window, step in sides]
        if max(lacking) <= 1 and all(-(-size // step) == count for size, count, _, step in sides):
            return _SAME
    raise state.refuse(node, "a ceil_mode pooling of 2 by 2 pixels, or of a fixed size that lacks at most one pixel")


def _flatten(state: Lowering, node: fx.Node, module: nn.Flatten) -> None:
    source = node.all_input_nodes[0]
    sizes = state.shapes[source].sizes
    if (module.start_dim, module.end_dim) != (1, -1) or len(sizes) != 4 or -1 in state.shapes[source].signature[1:]:
        raise state.refuse(node, "a flattening of (N, C, H, W), of fixed size, into (N, C * H * W)")
    if not all(isinstance(module_of(state.graph, user), nn.Linear) for user in node.users):
        raise state.refuse(node, "a flattening read by Linear layers alone, whose weights are reordered for it")
    state.flattened[node] = (sizes[3], sizes[1], sizes[2])
    values = np.array([-1, np.prod(sizes[1:])], np.int32)
    options = schema.ReshapeOptionsT()
    options.newShape = values.tolist()
    state.compute(
        node, "RESHAPE", [state.input_of(node), state.builder.constant(f"{node.name}.shape", values)], options
    )


def _linear(state: Lowering, node: fx.Node, module: nn.Linear) -> None:
    source = node.all_input_nodes[0]
    if len(state.shapes[source].sizes) != 2:
        raise state.refuse(node, "a Linear layer that reads (N, C)")
    weights = module.weight.detach().numpy()
    if source in state.flattened:  # PyTorch flattened (C, H, W), TFLite (H, W, C)
        weights = weights.reshape(-1, *state.flattened[source]).transpose(0, 2, 3, 1).reshape(len(weights), -1)
    bias = np.zeros(len(weights), np.float32) if module.bias is None else module.bias.detach().numpy()
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = state.fuse_activation(node)
    layer = _add_layer(state, node, np.ascontiguousarray(weights), bias, 0)
    state.compute(node, "FULLY_CONNECTED", [state.read(source, node), *layer], options)


def _softmax(state: Lowering, node: fx.Node, module: nn.Softmax) -> None:
    rank = len(state.shapes[node].sizes)
    if module.dim not in (1, 1 - rank):
        raise state.refuse(node, "a softmax over channels (dim=1)")
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    state.compute(node, "SOFTMAX", [state.input_of(node)], options)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


_MODULES: dict[type[nn.Module], Callable[[Lowering, fx.Node, Any], None]] = {
    nn.Conv2d: _convolution,
    nn.Flatten: _flatten,
    nn.LeakyReLU: _leaky_relu,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.PReLU: _prelu,
    nn.PixelShuffle: _pixel_shuffle,
    nn.ReLU: _relu,
    nn.Softmax: _softmax,
    nn.Upsample: _upsample,
}
_FUNCTIONS: dict[Any, Callable[[Lowering, fx.Node, Any], None]] = {
    operator.add: _addition,
    operator.mul: _multiplication,
    torch.clamp: _clamp,
}
_INT8 = {_addition, _clamp, _convolution, _leaky_relu, _max_pool, _multiplication, _pixel_shuffle, _relu, _upsample}
