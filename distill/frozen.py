"""Networks that training listens to and must not move: teachers, identity networks, feature networks."""

from __future__ import annotations

from typing import Self

from torch import nn


class Frozen(nn.Module):
    """A network that stays in eval mode whatever happens around it, without gradients to its weights.

    Statistics that moved would make another network of it, in silence: one `.train()` on whatever holds it would do.
    Subclasses call `freeze` when all of their parts are in place.
    """

    def freeze(self) -> Self:
        """Freeze the weights and leave training mode for good."""
        return self.requires_grad_(requires_grad=False).eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002, FBT001, FBT002 - torch's own signature
        """Stay in eval mode."""
        return super().train(mode=False)
