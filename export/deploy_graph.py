"""The student as a flat graph of the few operations that every device format and delegate knows.

The writers walk this graph node by node, and calibration measures one range a node, so that node names are the one
vocabulary of the export room: the module's path with underscores (`encoder_0_0_conv_pw`), an addition after the module
that adds (`encoder_0_0_add`, at the top `add`, `add_1`, ...), `image` and `strength` for the inputs, `residual` for
what is added to the image times the strength, `restored` for the clamped output.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..runtime.errors import ExportError
from ..runtime.models.checkpoint import hash_tensors
from ..runtime.restorer import STRENGTH

IMAGE, RESTORED, RESIDUAL = "image", "restored", "residual"
_WEIGHTS = "weights_sha256"


def build_deploy_graph(student: nn.Module) -> fx.GraphModule:
    """Trace a student into its deployable form; the student itself is left as it was.

    Args:
        student: (N, 3, S, S) RGB in [0, 1] -> the same shape, unclamped.

    Returns:
        A float32 graph in eval mode with input `image` and output `restored`, both (N, 3, S, S) in [0, 1], made only of
        Conv2d (ungrouped or depthwise), LeakyReLU, addition of two tensors, Upsample (bilinear, factor 2), PixelShuffle
        and one clamp to [0, 1]. Where the network ends in "image + residual", as a student does, the graph has a second
        input, `strength` in [0, 1], (1,), 1 where it is not given, that multiplies the residual: 0 gives the image
        itself, and every pixel moves steadily from there to the restored one.

    Raises:
        ExportError: an operation or setting outside that list; names its node and module.
    """
    graph_module = trace(student)
    graph = graph_module.graph
    inputs = graph.find_nodes(op="placeholder")
    if len(inputs) != 1:
        raise ExportError("a network with one input", f"{len(inputs)} in {type(student).__name__}")
    _name_input(graph, inputs[0])
    for node in graph.nodes:
        _check_deployable(graph_module, node)
    _add_strength(graph)
    _clamp_output(graph)
    graph_module.recompile()
    return graph_module


def has_strength(graph_module: fx.GraphModule) -> bool:
    """Whether a deploy graph has the input `strength`."""
    return any(node.name == STRENGTH for node in graph_module.graph.find_nodes(op="placeholder"))


def trace(model: nn.Module) -> fx.GraphModule:
    """Trace any feed-forward network into a flat graph of leaf modules and functions, with readable node names.

    Every PReLU with one slope becomes the LeakyReLU that computes the same, and every BatchNorm behind a convolution
    becomes part of it; other operations stay as they are.

    Args:
        model: a network without control flow on its inputs; a copy of it is traced, in float32 and eval mode.

    Raises:
        ExportError: the network cannot be traced.
    """
    root = copy.deepcopy(model).cpu().float().eval().requires_grad_(requires_grad=False)
    try:
        graph = _PathTracer().trace(root)
    except Exception as error:  # tracing runs the model's own forward, which may raise anything
        raise ExportError(
            "a feed-forward network that torch.fx can trace",
            f"{type(model).__name__}: {error}",
            "keep shapes and branches out of forward",
        ) from error
    for node in graph.nodes:
        if node.op == "call_function" and node.target is torch.add:
            node.target = operator.add
    graph_module = fx.GraphModule(root, graph)
    graph_module.meta[_WEIGHTS] = hash_tensors(root.state_dict())
    _fold_normalisation(graph_module)
    for path, module in list(graph_module.named_modules()):
        if isinstance(module, nn.PReLU) and module.num_parameters == 1:
            graph_module.set_submodule(path, nn.LeakyReLU(float(module.weight)))
    return graph_module.eval()


def weights_sha256(graph_module: fx.GraphModule) -> str:
    """sha256 over the float32 weights of the network that a graph was traced from.

    Measured ranges carry it, so that no writer can pair them with other weights. It is taken before folding, whose last
    bit depends on the machine: ranges that are shipped must match wherever they are used.
    """
    return graph_module.meta[_WEIGHTS]


def module_of(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, or None where it calls a function or a method."""
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def find_nodes(graph_module: fx.GraphModule, names: Collection[str]) -> list[fx.Node]:
    """The nodes of these names.

    Raises:
        ExportError: a name that no computing node has.
    """
    known = {node.name: node for node in graph_module.graph.nodes if node.op in ("call_module", "call_function")}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ExportError("names of nodes", ", ".join(unknown), "python -m pocketface.export.audit lists them")
    return [known[name] for name in names]


def tail_of(graph_module: fx.GraphModule) -> tuple[str, ...]:
    """The end of a deploy graph, float in 8-bit files so that the result has more than 8 bits.

    These are the last addition and the clamp, and before them the multiplication by the strength where there is one.
    """
    (output,) = graph_module.graph.find_nodes(op="output")
    clamped = output.args[0]
    strength = (RESIDUAL,) if has_strength(graph_module) else ()
    return *strength, clamped.all_input_nodes[0].name, clamped.name


def float_ends_of(graph_module: fx.GraphModule) -> tuple[str, ...]:
    """The nodes that 8-bit files compute in float: the tail, and the head, all before the image shrinks again.

    Measured (docs/export.md): of all layers the first block's activations lose the most by 8 bits, the last addition
    comes next, and both together cost 14 KB and no speed. Both lie at an end, so that no accelerator's part is split.
    """
    head: list[str] = []
    for node in graph_module.graph.nodes:
        module = module_of(graph_module, node)
        if isinstance(module, nn.Conv2d) and head and max(module.stride) > 1:
            return (*head, *tail_of(graph_module))
        if node.op in ("call_module", "call_function"):
            head.append(node.name)
    return tail_of(graph_module)  # a network that never shrinks its image has no head to speak of


def convolution_weights(
    graph_module: fx.GraphModule, node: fx.Node, module: nn.Conv2d
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernels (O, I / groups, kh, kw) and bias (O,) as device formats want them.

    PyTorch's pixel shuffle reads channel (c, dy, dx), TFLite's and ONNX's mode DCR, the only one that NNAPI takes, read
    (dy, dx, c): where a shuffle alone reads the convolution, its output channels are moved here; no file transposes.
    """
    weights = module.weight.detach().numpy()
    bias = np.zeros(len(weights), np.float32) if module.bias is None else module.bias.detach().numpy()
    factor = shuffle_after(graph_module, node)
    if factor == 1:
        return weights, bias
    order = np.arange(len(weights)).reshape(-1, factor**2).T.reshape(-1)
    return weights[order], bias[order]


def shuffle_after(graph_module: fx.GraphModule, node: fx.Node) -> int:
    """The factor of the pixel shuffle that alone reads a node; 1 where there is none."""
    after = [module_of(graph_module, user) for user in node.users]
    return after[0].upscale_factor if len(after) == 1 and isinstance(after[0], nn.PixelShuffle) else 1


def describe(graph_module: fx.GraphModule, node: fx.Node) -> str:
    """A node for an error message: its name, what it does, and where in the network that stands."""
    module = module_of(graph_module, node)
    if module is not None:
        return f"node {node.name}: {module} of module {node.target}"
    inside = list(node.meta.get("nn_module_stack") or {"the network's top level": None})[-1]
    return f"node {node.name}: {getattr(node.target, '__name__', node.target)}{node.args} in {inside}"


class _PathTracer(fx.Tracer):
    """Names functions after the module that calls them, as fx already does for modules."""

    def create_node(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any | None = None,
    ) -> fx.Node:
        if kind in ("call_function", "call_method"):
            path = next(reversed(self.module_stack.values()))[0] if self.module_stack else ""
            what = target if isinstance(target, str) else target.__name__
            name = "_".join([*path.split("."), what]).strip("_")
        return super().create_node(kind, target, args, kwargs, name, type_expr)


def _fold_normalisation(graph_module: fx.GraphModule) -> None:
    """Fold each BatchNorm whose input is a convolution that nobody else reads; any other stays and is refused later."""
    graph = graph_module.graph
    for node in graph.find_nodes(op="call_module"):
        norm, source = module_of(graph_module, node), node.args[0]
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(source, fx.Node) or len(source.users) > 1:
            continue
        conv = module_of(graph_module, source)
        if isinstance(conv, nn.Conv2d):
            graph_module.set_submodule(str(source.target), fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def _name_input(graph: fx.Graph, old: fx.Node) -> None:
    with graph.inserting_before(old):
        new = graph.create_node("placeholder", IMAGE, name=IMAGE)
    old.replace_all_uses_with(new)
    graph.erase_node(old)


def _add_strength(graph: fx.Graph) -> None:
    """Multiply what is added to the image by an input of its own; networks that end otherwise stay as they are."""
    (output,) = graph.find_nodes(op="output")
    last = output.args[0]
    image = graph.find_nodes(op="placeholder")[0]
    if not (isinstance(last, fx.Node) and last.target is operator.add and last.args.count(image) == 1):
        return
    residual = next(node for node in last.all_input_nodes if node is not image)
    with graph.inserting_after(image):
        strength = graph.create_node("placeholder", STRENGTH, args=(1.0,), name=STRENGTH)
    with graph.inserting_before(last):
        scaled = graph.create_node("call_function", operator.mul, (residual, strength), name=RESIDUAL)
    last.replace_input_with(residual, scaled)


def _clamp_output(graph: fx.Graph) -> None:
    (output,) = graph.find_nodes(op="output")
    with graph.inserting_before(output):
        clamped = graph.create_node("call_function", torch.clamp, (output.args[0], 0.0, 1.0), name=RESTORED)
    output.args = (clamped,)


def _check_deployable(graph_module: fx.GraphModule, node: fx.Node) -> None:
    if node.op == "call_module":
        allowed = _module_allowed(module_of(graph_module, node))
    elif node.op == "output":
        allowed = isinstance(node.args[0], fx.Node)
    else:
        allowed = node.op == "placeholder" or _is_plain_addition(node)
    if not allowed:
        raise ExportError(
            "only Conv2d (ungrouped or depthwise), LeakyReLU, PReLU with one slope, addition of two tensors, bilinear "
            "Upsample by 2, PixelShuffle, and one output",
            describe(graph_module, node),
            "replace it in the network, or extend the writers first",
        )


def _module_allowed(module: nn.Module | None) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups in (1, module.in_channels) and module.padding_mode == "zeros"
    if isinstance(module, nn.Upsample):
        twice = module.scale_factor in (2, 2.0, (2, 2), (2.0, 2.0))
        return module.mode == "bilinear" and twice and not module.align_corners
    return isinstance(module, (nn.LeakyReLU, nn.PixelShuffle))


def _is_plain_addition(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and node.target is operator.add
        and not node.kwargs
        and all(isinstance(argument, fx.Node) for argument in node.args)
    )
