"""What a student can learn from inside its teacher: feature maps and where they are strong."""

from __future__ import annotations

import typing
from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import RecipeError
from ..runtime.models.student import StudentRestorer
from ..runtime.models.teacher import TeacherRestorer

# Stride -> feature map (N, C, S / stride, S / stride).
Maps: typing.TypeAlias = Mapping[int, Tensor]
_TINY = 1e-8


class FeatureTap:
    """Keeps what the decoder of a U-shaped restorer, and its lowest level, last gave, by stride.

    Args:
        network: a student or a teacher of ours.

    Raises:
        RecipeError: a network of another kind, whose inside nobody knows.
    """

    def __init__(self, network: nn.Module | None) -> None:
        self.maps: dict[int, Tensor] = {}
        if not isinstance(network, (TeacherRestorer, StudentRestorer)):
            raise RecipeError(
                "a teacher of our own architecture for the terms 'features' and 'attention'",
                type(network).__name__,
                "use the terms 'teacher' and 'identity_teacher'",
            )
        stride = network.config.stem_stride
        levels = [*network.decoder, network.middle]
        self.widths = dict[int, int]()
        for level, (stage, width) in enumerate(zip(levels, network.config.channels, strict=True)):
            self.widths[stride << level] = width
            stage.register_forward_hook(self._keeper(stride << level))

    def _keeper(self, stride: int) -> typing.Callable[[nn.Module, object, Tensor], None]:
        def keep(_module: nn.Module, _given: object, found: Tensor) -> None:
            self.maps[stride] = found

        return keep


class Adapters(nn.Module):
    """Learnt 1x1 convolutions that translate the student's feature maps into the teacher's; trained, never shipped.

    Args:
        student, teacher: widths by stride; strides that both have are compared.
    """

    def __init__(self, student: Mapping[int, int], teacher: Mapping[int, int]) -> None:
        super().__init__()
        common = sorted(set(student) & set(teacher))
        if not common:
            raise RecipeError("student and teacher with a stride in common", f"{list(student)} and {list(teacher)}")
        self.strides = common
        self.convs = nn.ModuleDict({str(s): nn.Conv2d(student[s], teacher[s], 1) for s in common})

    def forward(self, student: Maps, teacher: Maps) -> dict[str, Tensor]:
        """Compare maps: the terms `features` and `attention`, each a mean over strides."""
        followed = [features(self.convs[str(s)](student[s]), teacher[s].detach()) for s in self.strides]
        attended = [attention(student[s], teacher[s].detach()) for s in self.strides]
        return {"features": torch.stack(followed).mean(), "attention": torch.stack(attended).mean()}


class Lesson:
    """The student's lesson from inside its teacher: taps on both networks and the adapters between them.

    Args:
        student: the network in training, before it is compiled or wrapped.
        teacher: frozen; its maps are read from its last call. None stands for one that another engine runs.
        fabric: where to run.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module | None, fabric: Fabric) -> None:
        self._student, self._teacher = FeatureTap(student), FeatureTap(teacher)
        self.adapters = fabric.setup_module(Adapters(self._student.widths, self._teacher.widths).to(fabric.device))

    def terms(self) -> dict[str, Tensor]:
        """The terms of the last calls of both networks on the same faces."""
        return self.adapters(self._student.maps, self._teacher.maps)


def features(followed: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of feature maps in units of the wanted map's variance: 1 is as bad as its mean.

    Source: FitNets (Romero et al. 2015).
    """
    wanted = wanted.float()
    return F.mse_loss(followed.float(), wanted) / wanted.var().clamp(min=_TINY)


def attention(one: Tensor, other: Tensor) -> Tensor:
    """Mean of 1 - cosine between maps of where features are strong (squared, averaged over channels).

    Source: attention transfer (Zagoruyko and Komodakis 2017).
    """
    maps = [picture.float().square().mean(1).flatten(1) for picture in (one, other)]
    return (1 - F.cosine_similarity(maps[0], maps[1])).mean()


def relational(embedded: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference between the cosines of all pairs in a batch: who is how like whom.

    Args:
        embedded, wanted: (N, D), unit length, N at least 2.

    Source: relational knowledge distillation (Park et al. 2019).
    """
    cosines = [batch.float() @ batch.float().T for batch in (embedded, wanted)]
    pairs = ~torch.eye(len(embedded), dtype=torch.bool, device=embedded.device)
    return (cosines[0] - cosines[1])[pairs].abs().mean()


def confidence(led: Tensor, aged: Tensor, target: Tensor) -> Tensor:
    """How far the teacher deserves to be followed, place by place: the share of the input's error that it removes.

    Args:
        led: the teacher's output, (N, 3, S, S).
        aged, target: its input and the truth.

    Returns:
        (N, 1, S, S) in [0, 1]: 1 where the teacher hits the truth, 0 where it is no better than its input.
    """
    errors = [(picture.float() - target.float()).abs().mean(1, keepdim=True) for picture in (led, aged)]
    # Single pixels hit the truth by chance; a neighbourhood does not.
    by_teacher, before = (F.avg_pool2d(error, 9, 1, 4, count_include_pad=False) for error in errors)
    return (1 - by_teacher / before.clamp(min=_TINY)).clamp(0, 1)
