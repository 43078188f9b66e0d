"""Training a student on what an 8-bit file of it computes: rounded weights and activations, statistics at rest.

The network itself stays as it is. For the length of one batch its weights are exchanged for rounded ones, hooks round
what its layers give, and every BatchNorm stands in eval mode, because export folds it with its running statistics. The
gradient at the rounded weights moves the float ones, and passes the rounding of activations as if there were none
(straight-through), but for values that were clipped. So checkpoints hold an ordinary float student.

Source: Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only inference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from ..runtime.errors import RecipeError
from ..runtime.models.blocks import InvertedResidual
from ..runtime.models.student import StudentConfig, StudentRestorer

# How far 8 bits reach: nowhere; all but stem, first block and last addition, as in the usual int8 file; everywhere, as
# in a file for processors without floats.
Rounding: TypeAlias = Literal["none", "body", "all"]
# Averages a tensor over processes.
Reduce: TypeAlias = Callable[[Tensor], Tensor]

_IMAGE = "image"
_LOWEST, _HIGHEST = -128.0, 127.0
_WEIGHT_LIMIT = 127.0
# A tensor that is constant, or a channel without weights, still needs a step to divide by.
_SMALLEST_SPAN, _SMALLEST_STEP = 1e-6, 1e-12
# How much of a range one batch replaces: the last ten or so decide, so that ranges follow the weights.
_NEW = 0.1


def check_shape(config: StudentConfig) -> None:
    """Make sure that a student has a shape that 8-bit files are written of.

    Raises:
        RecipeError: another activation than one slope a layer, or attention.
    """
    if config.activation != "prelu" or config.attention:
        got = f"activation '{config.activation}'{' and attention' if config.attention else ''}"
        raise RecipeError("activation 'prelu' and no attention where a stage rounds to 8 bits", got)


def round_activations(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Round to the 256 levels over low..high, widened so that zero is one of them, and clip what lies beyond.

    Args:
        values: any shape; their gradient is 1 where nothing was clipped, and 0 elsewhere.
        low, high: of no dimensions.
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    step = (high - low).clamp(min=_SMALLEST_SPAN) / (_HIGHEST - _LOWEST)
    zero = (_LOWEST - low / step).round().clamp(_LOWEST, _HIGHEST)
    return _Round.apply(values, step, _LOWEST - zero, _HIGHEST - zero)


def round_kernels(kernels: Tensor, gains: Tensor) -> Tensor:
    """Round kernels as they are after folding, to 255 symmetric levels a channel, and undo the folding.

    Args:
        kernels: (O, I, kh, kw), before folding.
        gains: (O,), what the BatchNorm behind multiplies each channel with; 1 where there is none.

    Returns:
        Kernels that folding turns into the rounded ones; those of a channel with gain 0 as they were.
    """
    gains = gains.reshape(-1, 1, 1, 1)
    folded = kernels * gains
    steps = (folded.abs().amax((1, 2, 3), keepdim=True) / _WEIGHT_LIMIT).clamp(min=_SMALLEST_STEP)
    rounded = (folded / steps).round().clamp(-_WEIGHT_LIMIT, _WEIGHT_LIMIT) * steps
    return torch.where(gains == 0, kernels, rounded / torch.where(gains == 0, 1.0, gains))


class EightBit:
    """Lets a student in training compute as an 8-bit file of it would, a batch at a time.

    What is given at the end is not rounded: to whole grey levels that would be noise which no weight can do anything
    about, and training wants the gradient beyond 0 and 1.

    Args:
        student: the live network, before it is compiled or wrapped. It gets hooks that do nothing unless `at_work`.
        reduce: averages what was observed over processes, so that all of them round alike.

    Raises:
        RecipeError: a network that 8-bit files are not written of.
    """

    def __init__(self, student: nn.Module, reduce: Reduce = lambda tensor: tensor) -> None:
        if not isinstance(student, StudentRestorer):
            raise RecipeError("a student where a stage rounds to 8 bits", type(student).__name__)
        check_shape(student.config)
        self._reduce = reduce
        self._convolutions = _convolutions(student)
        self._norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
        self._reach: Rounding = "none"
        self._seen: dict[str, Tensor] = {}
        # Low and high of each rounded place, by the path of the module that gives it or, for an addition at a join,
        # reads it. Part of a run's state.
        self.ranges: dict[str, Tensor] = {}
        # Where the head, which may stay float, hands over to the body.
        blocks = student.config.encoder_blocks[0]
        self._seam = f"encoder.0.{blocks - 1}" if blocks else "stem"
        self._add_hooks(student)

    @contextmanager
    def at_work(self, reach: Rounding) -> Iterator[None]:
        """Compute in 8 bits, forwards and backwards, within this block; weights and modes are as before after it.

        Args:
            reach: what is rounded; `none` does nothing at all.
        """
        chosen = [entry for entry in self._convolutions if _reaches(reach, entry[0])]
        kept = [conv.weight.detach().clone() for _, conv, _ in chosen]
        frozen = [norm for norm in self._norms if norm.training and reach != "none"]
        self._reach = reach
        try:
            for norm in frozen:
                norm.eval()
            for (_, conv, norm), kernels in zip(chosen, kept, strict=True):
                _write(conv, round_kernels(kernels, _gains(conv, norm)))
            yield
            self._follow()
        finally:
            self._reach, self._seen = "none", {}
            for (_, conv, _), kernels in zip(chosen, kept, strict=True):
                _write(conv, kernels)
            for norm in frozen:
                norm.train()

    def _follow(self) -> None:
        """Move the ranges towards what this batch showed; a place's first range is what its first batch shows."""
        if not self._seen:
            return
        found = self._reduce(torch.stack(list(self._seen.values())))
        for name, new in zip(self._seen, found, strict=True):
            old = self.ranges.get(name, new).to(new.device)
            self.ranges[name] = old.lerp(new, _NEW)

    def _add_hooks(self, student: StudentRestorer) -> None:
        bare = {conv for _, conv, norm in self._convolutions if norm is None}
        for name, module in student.named_modules():
            if module in bare or isinstance(module, InvertedResidual | nn.BatchNorm2d | nn.PReLU):
                module.register_forward_hook(self._after(name))
        for level, (up, decode) in enumerate(zip(student.up, student.decoder, strict=True)):
            # Enlarging mixes levels as they are: those before it serve after it.
            up.register_forward_hook(self._after(f"up.{level}.0", observe=False))
            decode.register_forward_pre_hook(self._before(f"decoder.{level}"))
        student.register_forward_pre_hook(self._before(_IMAGE))

    def _after(self, name: str, *, observe: bool = True) -> Callable[[nn.Module, object, Tensor], Tensor]:
        return lambda _module, _given, values: self._rounded(name, values, observe=observe)

    def _before(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        return lambda _module, given: (self._rounded(name, given[0], observe=True),)

    def _rounded(self, name: str, values: Tensor, *, observe: bool) -> Tensor:
        if self._reach == "none" or not (name == self._seam or _reaches(self._reach, name)):
            return values
        if name == _IMAGE:
            return round_activations(values, values.new_zeros(()), values.new_ones(()))
        if observe:
            self._seen[name] = torch.stack(values.detach().float().aminmax())
        low, high = self.ranges.get(name, self._seen[name]).to(values.device)
        return round_activations(values, low, high)


class _Round(torch.autograd.Function):
    """Values -> the nearest multiples of a step, between two of them; the gradient passes where nothing was clipped."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, least: Tensor, most: Tensor) -> Tensor:
        levels = (values.float() / step).round_()
        ctx.save_for_backward((levels >= least) & (levels <= most))
        return levels.clamp_(least, most).mul_(step).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (kept,) = ctx.saved_tensors
        return gradients[0] * kept, None, None, None


def _reaches(reach: Rounding, name: str) -> bool:
    """Whether 8 bits reach a convolution or what a module gives."""
    if reach == "body":
        return name not in (_IMAGE, "stem") and not name.startswith("encoder.0.")
    return reach == "all"


def _convolutions(student: StudentRestorer) -> Sequence[tuple[str, nn.Conv2d, nn.BatchNorm2d | None]]:
    """Path of every convolution, itself, and the BatchNorm behind it, which export folds into it."""
    norms: dict[nn.Module, nn.BatchNorm2d] = {}
    for block in student.modules():
        if isinstance(block, InvertedResidual):
            norms |= {block.conv_pw: block.bn1, block.conv_dw: block.bn2, block.conv_pwl: block.bn3}
    found = [(name, module) for name, module in student.named_modules() if isinstance(module, nn.Conv2d)]
    return [(name, conv, norms.get(conv)) for name, conv in found]


def _gains(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> Tensor:
    """What folding multiplies each output channel of a convolution with."""
    if norm is None or norm.running_var is None:
        return torch.ones_like(conv.weight[:, 0, 0, 0])
    return norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()


def _write(conv: nn.Conv2d, kernels: Tensor) -> None:
    with torch.no_grad():
        conv.weight.copy_(kernels)
