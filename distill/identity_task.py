"""Distil the identity network from dlib's ResNet: `python -m pocketface.distill.identity_task --crops CROPS -o FILE`.

The teacher sees clean faces, the student the same faces moved, re-lit and degraded, so that its embedding holds on poor
photographs. Blends of two faces, embedded by the teacher as they are, stand in for people that the set does not have.
Teacher embeddings share a large common direction; it is subtracted, so that different people lie near a cosine of 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.cli import positive, run_module
from ..runtime.faces.align import ARCFACE, FFHQ, align_face, fit_similarity
from ..runtime.faces.degrade import LEVELS, degrade_face
from ..runtime.models.checkpoint import save_checkpoint
from ..runtime.models.dlib_resnet import DLIB, load_dlib_resnet
from ..runtime.models.identity import MobileFaceNet, faces_to_identity_crops
from .faces import load_crops, read_crops

Face = NDArray[np.uint8]
_TEACHER_BATCH = 32
# Rec. 601, as a column so that a colour image times it is a grey one.
_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


@dataclass(frozen=True)
class IdentityRecipe:
    """What is optimised, and for how long.

    Args:
        seconds: wall-clock budget; the learning rate follows a half cosine over it.
        batch: faces a step.
        learning_rate: peak, after a warm-up over the first 3 % of the budget.
        weight_decay: of AdamW.
        blends: pairs of people to blend, besides every face.
        degraded: share of faces that the student sees degraded.
        relational: weight of the loss on cosines between the faces of a batch.
        seed: of everything drawn.
    """

    seconds: float = 780.0
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    blends: int = 400
    degraded: float = 0.4
    relational: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class Subject:
    """A face to embed: one crop or a blend of two.

    Args:
        first, second: indices of crops.
        share: of the first in the blend; 1 for a crop alone.
    """

    first: int
    second: int
    share: float


def draw_subjects(count: int, blends: int, random: np.random.Generator) -> list[Subject]:
    """Every crop, then blends of two crops: count + blends subjects."""
    alone = [Subject(index, index, 1.0) for index in range(count)]
    pairs, shares = random.integers(0, count, (blends, 2)), random.uniform(0.35, 0.65, blends)
    return alone + [Subject(int(a), int(b), float(share)) for (a, b), share in zip(pairs, shares, strict=True)]


def render(crops: Face, subject: Subject) -> Face:
    """The subject's clean picture, (S, S, 3) uint8."""
    if subject.share == 1:
        return crops[subject.first]
    first, second = crops[subject.first], crops[subject.second]
    return cv2.addWeighted(first, subject.share, second, 1 - subject.share, 0).astype(np.uint8)


def vary(face: Face, degraded: float, random: np.random.Generator) -> Face:
    """Make the student's input: mirror and degrade perhaps, move a little, change exposure, perhaps turn grey.

    Args:
        face: (S, S, 3) uint8, aligned with the FFHQ template.
        degraded: probability of a degradation of the grid.
        random: where the dice come from.

    Returns:
        (112, 112, 3) uint8, roughly aligned with the ArcFace template.
    """
    if random.random() < 0.5:
        face = np.ascontiguousarray(face[:, ::-1])
    if random.random() < degraded:
        face = degrade_face(face, str(random.choice(list(LEVELS))), int(random.integers(2**31)))
    turn = 1j * random.normal(0, 0.05) + random.normal(0, 0.04)
    shift = random.normal(0, 2.0, 2)
    target = ARCFACE.scaled(ARCFACE.width)
    centre = target.mean(0)
    stretched = ((target - centre) @ (1, 1j)) * np.exp(turn)
    moved = np.stack([stretched.real, stretched.imag], 1) + centre + shift
    crop = align_face(face, fit_similarity(FFHQ.scaled(face.shape[0]), moved), ARCFACE.width)
    return _relight(crop.astype(np.float32), random)


def _relight(crop: NDArray[np.float32], random: np.random.Generator) -> Face:
    gain, bias = np.exp(random.normal(0, 0.15)), random.normal(0, 8.0)
    tint = np.exp(random.normal(0, 0.05, 3)) if random.random() < 0.5 else np.ones(3)
    if random.random() < 0.25:
        crop = np.repeat(crop @ _LUMA, 3, 2)
    lit = (crop - 127.5) * (gain * tint) + 127.5 + bias
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def embed_with_teacher(crops: Face, subjects: Sequence[Subject]) -> tuple[Tensor, Tensor]:
    """Embed the subjects' clean pictures with dlib's network.

    Returns:
        Targets (N, 128), unit length, and the common direction (128,) that was subtracted before normalising.
    """
    teacher = load_dlib_resnet().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - not in the stubs
    found = []
    with torch.inference_mode():
        for start in range(0, len(subjects), _TEACHER_BATCH):
            faces = to_batch([render(crops, subject) for subject in subjects[start : start + _TEACHER_BATCH]])
            found.append(teacher(faces_to_identity_crops(faces, DLIB)))
    embeddings = torch.cat(found)
    common = embeddings.mean(0)
    return F.normalize(embeddings - common).clone(), common.clone()


def to_batch(images: Sequence[Face]) -> Tensor:
    """(N, 3, H, W) float32 in [0, 1] of N images (H, W, 3) uint8."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255.0


def identity_losses(student: Tensor, teacher: Tensor, relational: float) -> dict[str, Tensor]:
    """Named terms: cosine to the teacher's embedding, and agreement on who in the batch resembles whom.

    Args:
        student, teacher: (N, D), unit length.
        relational: weight of the second term.
    """
    return {
        "cosine": (1 - (student * teacher).sum(1)).mean(),
        "relational": relational * F.mse_loss(student @ student.T, teacher @ teacher.T),
    }


def distil_identity(crops: Face, recipe: IdentityRecipe, log: Path) -> MobileFaceNet:
    """Train a MobileFaceNet on crops (N, S, S, 3) uint8; one JSON line every 10 steps goes to `log`."""
    random = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    subjects = draw_subjects(len(crops), recipe.blends, random)
    targets, _ = embed_with_teacher(crops, subjects)
    # Depthwise layers train fastest with channels last.
    student = MobileFaceNet().train().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - not in the stubs
    optimiser = torch.optim.AdamW(student.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    start, step = time.monotonic(), 0
    with log.open("w", encoding="utf-8") as file:
        while (progress := (time.monotonic() - start) / recipe.seconds) < 1:
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * _schedule(progress)
            # Half of each batch are people as they are; the other half may be blends.
            alone = random.integers(0, len(crops), recipe.batch // 2)
            others = random.integers(0, len(subjects), recipe.batch - len(alone))
            chosen = np.concatenate([alone, others])
            faces = to_batch([vary(render(crops, subjects[index]), recipe.degraded, random) for index in chosen])
            losses = identity_losses(student(faces), targets[chosen], recipe.relational)
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            optimiser.step()
            step += 1
            if step % 10 == 0:
                terms = {name: round(float(value.detach()), 5) for name, value in losses.items()}
                seconds = round(time.monotonic() - start, 1)
                file.write(json.dumps({"step": step, "seconds": seconds, **terms}) + "\n")
                file.flush()
    return student.to(memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue] - not in the stubs


def _schedule(progress: float) -> float:
    """Linear warm-up over 3 % of the budget, then a half cosine to 0."""
    return min(1.0, progress / 0.03 + 0.01) * 0.5 * (1 + np.cos(np.pi * min(1.0, progress)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--crops", type=Path, required=True, help="folder made by pocketface.distill.faces")
    parser.add_argument("-o", "--output", type=Path, required=True, help="checkpoint to write (float16 safetensors)")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--seconds", type=float, default=IdentityRecipe.seconds, help="budget (default: %(default)s)")
    parser.add_argument("--blends", type=int, default=IdentityRecipe.blends, help="default: %(default)s")
    parser.add_argument("--threads", type=positive, default=2, help="CPU threads (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Train and write the checkpoint, with its log beside it."""
    torch.set_num_threads(arguments.threads)
    recipe = IdentityRecipe(seconds=arguments.seconds, blends=arguments.blends)
    people = read_crops(arguments.crops, "train")
    student = distil_identity(load_crops(arguments.crops, people), recipe, arguments.log)
    training = {
        "teacher": "dlib_face_recognition_resnet_model_v1 (CC0)",
        "recipe": asdict(recipe),
        "faces": len(people),
        "licences": sorted({person.licence for person in people}),
    }
    digest = save_checkpoint(arguments.output, student, training=training, half=True)
    sys.stdout.write(f"{arguments.output}: sha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.distill.identity_task"))
