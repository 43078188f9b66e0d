"""Fit what tells a covered face: synthetic covers over real faces, one linear function for each cell of a map.

    python -m pocketface.distill.occlusion --data FOLDER --output runtime/weights/occlusion.npz

FOLDER holds aligned crops (`pocketface distill prepare`). Fitting uses training people and three shapes of cover;
validation other people and four other shapes, so that the printed figures say what to expect of covers never seen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.atomic import replacing_file
from ..runtime.cli import positive
from ..runtime.faces.align import ARCFACE
from ..runtime.faces.degrade import degrade_face
from ..runtime.faces.identity import IdentityNetwork, to_identity_crops
from ..runtime.faces.occlusion import CELLS, MUCH, face_region, hidden_share
from ..runtime.images import to_faces
from .faces import load_crops, read_crops

Picture: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.uint8]

FITTED = ("blob", "bar", "edge")
HELD_OUT = ("mask", "glasses", "hand", "strands")
_LEVELS = (None, None, "mild", "medium", "severe")  # two in five stay as they are
_RIDGE = 30.0  # on features of unit spread; from 3 to 300 the held-out error moves by less than a tenth
_SKIN = np.array([180, 140, 120])


def cover_face(face: Picture, other: Picture, kind: str, random: np.random.Generator) -> tuple[Picture, Mask]:
    """Lay one cover over a face.

    Args:
        face: (S, S, 3) RGB.
        other: a picture of the same shape whose texture some covers take.
        kind: one of FITTED or HELD_OUT.
        random: decides on place, size and filling.

    Returns:
        The covered face, and (S, S) uint8, 255 where it is covered.
    """
    side = face.shape[0]
    mask = np.zeros((side, side), np.uint8)
    _SHAPES[kind](mask, random)
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), random.uniform(0.3, 2.0)), np.float32)[:, :, None] / 255
    filling = _filling(face, other, kind, random)
    covered = face * (1 - soft) + filling * soft
    return np.clip(np.rint(covered), 0, 255).astype(np.uint8), mask


def _blob(mask: Mask, random: np.random.Generator) -> None:
    side = len(mask)
    axes = random.uniform(0.06, 0.3, 2) * side
    centre = random.uniform(0.2, 0.8, 2) * side
    cv2.ellipse(mask, (centre.tolist(), (2 * axes).tolist(), random.uniform(0, 180)), 255, -1)


def _bar(mask: Mask, random: np.random.Generator) -> None:
    side = len(mask)
    size = random.uniform((0.2, 0.06), (1.2, 0.35)) * side
    centre = random.uniform(0.25, 0.75, 2) * side
    box = cv2.boxPoints((centre.tolist(), size.tolist(), random.uniform(0, 180)))
    cv2.fillPoly(mask, [box.astype(np.int32)], 255)


def _edge(mask: Mask, random: np.random.Generator) -> None:
    """Everything beyond a straight line."""
    side = len(mask)
    angle, distance = random.uniform(0, 2 * np.pi), random.uniform(-0.05, 0.3) * side
    y, x = np.mgrid[:side, :side] - side / 2
    mask[x * np.cos(angle) + y * np.sin(angle) > distance] = 255


def _mask(mask: Mask, random: np.random.Generator) -> None:
    """A medical mask over nose, mouth and chin."""
    side, top = len(mask), random.uniform(0.5, 0.6)
    points = [
        (0.26, top),
        (0.5, top - 0.04),
        (0.74, top),
        (0.76, 0.75),
        (0.62, 0.9),
        (0.5, 0.93),
        (0.38, 0.9),
        (0.24, 0.75),
    ]
    cv2.fillPoly(mask, [(np.array(points) * side).astype(np.int32)], 255)


def _glasses(mask: Mask, random: np.random.Generator) -> None:
    """Dark glasses."""
    side, width, height = len(mask), random.uniform(0.1, 0.14), random.uniform(0.06, 0.1)
    for x in (0.375, 0.625):
        cv2.ellipse(mask, ((x * side, 0.47 * side), (2 * width * side, 2 * height * side), 0), 255, -1)
    cv2.line(mask, (int(0.2 * side), int(0.46 * side)), (int(0.8 * side), int(0.46 * side)), 255, max(1, side // 50))


def _hand(mask: Mask, random: np.random.Generator) -> None:
    """A palm at the cheek or chin, and four fingers that reach over the face."""
    side = len(mask)
    palm = random.uniform((0.15, 0.7), (0.85, 1.0)) * side
    towards = np.array([0.5, 0.5]) * side - palm
    aim = np.arctan2(towards[1], towards[0])
    cv2.circle(mask, palm.astype(int).tolist(), int(0.13 * side), 255, -1)
    for finger in np.linspace(-0.35, 0.35, 4):
        reach = random.uniform(0.25, 0.45) * side
        tip = palm + reach * np.array([np.cos(aim + finger), np.sin(aim + finger)])
        cv2.line(mask, palm.astype(int).tolist(), tip.astype(int).tolist(), 255, max(2, int(0.055 * side)))


def _strands(mask: Mask, random: np.random.Generator) -> None:
    """Hair that falls over one half of the face."""
    side, start = len(mask), random.uniform(0.2, 0.6)
    for x in start + random.uniform(0, 0.3, 40):
        bend = random.uniform(-0.1, 0.1)
        points = [(x, 0.0), (x + bend, 0.4), (x + bend * 1.5, 0.8)]
        cv2.polylines(
            mask, [(np.array(points) * side).astype(np.int32)], isClosed=False, color=255, thickness=side // 50
        )


_SHAPES = {
    "blob": _blob, "bar": _bar, "edge": _edge, "mask": _mask, "glasses": _glasses, "hand": _hand, "strands": _strands,
}  # fmt: skip


def _filling(face: Picture, other: Picture, kind: str, random: np.random.Generator) -> NDArray[np.float64]:
    """What a cover looks like, (S, S, 3): what its kind asks for, else a colour, noise, texture or skin."""
    side = face.shape[0]
    shade = np.linspace(random.uniform(0.7, 1.0), random.uniform(0.7, 1.1), side)[:, None, None]
    if kind == "mask":
        return np.array([(235, 240, 245), (120, 170, 210), (30, 30, 35)][random.integers(3)]) * shade
    if kind == "glasses":
        return random.uniform(5, 60, 3) * shade
    own = np.median(face[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3], axis=(0, 1))
    if kind == "hand":
        return (0.7 * own + 0.3 * _SKIN) * shade + random.normal(0, 4, (side, side, 1))
    if kind == "strands":
        return random.uniform(10, 120) * np.array([1.0, 0.8, 0.6]) + random.normal(0, 20, (1, side, 1))
    choice = random.integers(4)
    if choice == 0:
        return np.broadcast_to(random.uniform(0, 255, 3), face.shape) * shade
    if choice == 1:
        return random.uniform(40, 200, 3) + random.normal(0, random.uniform(5, 60), face.shape)
    if choice == 2:  # another picture's corner, where its background and hair are
        corner = other[: side // 3, : side // 3] if random.integers(2) else other[-side // 4 :, : side // 2]
        return np.asarray(cv2.resize(corner, (side, side), interpolation=cv2.INTER_CUBIC), np.float64)
    return (own + random.normal(0, 12, 3)) * shade + random.normal(0, 5, (side, side, 1))


def relight(face: Picture, random: np.random.Generator) -> Picture:
    """Darken or brighten a face and tint it: most training faces are pale, and a dark complexion is no cover."""
    gains = random.uniform(0.35, 1.1) * random.uniform(0.85, 1.15, 3)
    curve = (np.linspace(0, 1, 256)[:, None] ** random.uniform(0.6, 1.7)) * gains
    table = np.clip(np.rint(255 * curve), 0, 255).astype(np.uint8)
    return np.stack([table[face[:, :, channel], channel] for channel in range(3)], axis=2)


def make_samples(
    crops: Picture, kinds: Sequence[str], rounds: int, seed: int, network: IdentityNetwork
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Cover, age and embed faces.

    Args:
        crops: (N, S, S, 3) RGB.
        kinds: of cover, in turn; every fourth face stays uncovered.
        rounds: how often each crop is used.
        seed: of everything random.
        network: gives the maps.

    Returns:
        Maps (M, 7, 7, 512), covered share of every cell (M, 7, 7) and of the face (M,).
    """
    maps, cells, shares = [], [], []
    for number in range(rounds * len(crops)):
        random = np.random.default_rng([seed, number])
        face, mask = crops[number % len(crops)], np.zeros(crops.shape[1:3], np.uint8)
        if kinds == FITTED and random.integers(2):
            face = relight(face, random)
        if number % 4:
            other = crops[int(random.integers(len(crops)))]
            for _ in range(random.integers(1, 3) if kinds == FITTED else 1):
                face, more = cover_face(face, other, kinds[int(random.integers(len(kinds)))], random)
                mask |= more
        level = _LEVELS[int(random.integers(len(_LEVELS)))]
        face = face if level is None else degrade_face(face, level, number)
        maps.append(network.embed_and_map(to_faces([face]))[1][0])
        truth = to_identity_crops(to_faces([np.repeat(mask[:, :, None], 3, axis=2)]))[0, :, :, 0]
        cells.append(truth.reshape(CELLS, ARCFACE.height // CELLS, CELLS, ARCFACE.width // CELLS).mean((1, 3)))
        shares.append(truth[face_region()].mean())
    return np.stack(maps), np.stack(cells), np.array(shares, np.float32)


def fit(maps: NDArray[np.float32], cells: NDArray[np.float32]) -> dict[str, NDArray[np.float16]]:
    """Ridge regression, one a cell: weights (7, 7, 512) and bias (7, 7)."""
    weights, bias = np.zeros(maps.shape[1:]), np.zeros(maps.shape[1:3])
    for place in np.ndindex(CELLS, CELLS):
        given, wanted = maps[:, *place].astype(np.float64), cells[:, *place].astype(np.float64)
        mean, spread = given.mean(0), given.std(0) + 1e-6
        unit = (given - mean) / spread
        gram = unit.T @ unit + _RIDGE * np.eye(unit.shape[1])
        slope = np.linalg.solve(gram, unit.T @ (wanted - wanted.mean())) / spread
        weights[place], bias[place] = slope, wanted.mean() - slope @ mean
    return {"weights": weights.astype(np.float16), "bias": bias.astype(np.float16)}


def _said(found: NDArray[np.float32], truth: NDArray[np.float32]) -> str:
    """What the estimates (N,) are worth against the true shares (N,), in words."""
    groups = {"bare": truth < 0.01, "up to 30 %": (truth >= 0.01) & (truth <= MUCH), "more": truth > MUCH}
    called = [
        f"{np.mean(found[group] > MUCH):.1%} of {group.sum()} {name}" for name, group in groups.items() if any(group)
    ]
    return f"mean error {np.abs(found - truth).mean():.3f}, called much covered: {', '.join(called)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, write, and say what the fit is worth on people and covers that it never saw."""
    parser = argparse.ArgumentParser(prog="python -m pocketface.distill.occlusion", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned crops")
    parser.add_argument("--output", "-o", type=Path, required=True, help=".npz file to write")
    parser.add_argument("--rounds", type=positive, default=6, help="how often each crop is used (default: %(default)s)")
    arguments = parser.parse_args(argv)
    network = IdentityNetwork()
    crops = load_crops(arguments.data, read_crops(arguments.data, "train"))
    maps, cells, _ = make_samples(crops, FITTED, arguments.rounds, 0, network)
    fitted = fit(maps, cells)
    with replacing_file(arguments.output) as temporary:
        np.savez(temporary, weights=fitted["weights"], bias=fitted["bias"])
    held_out = load_crops(arguments.data, read_crops(arguments.data, "validation"))
    dark = np.stack([relight(face, np.random.default_rng([2, number])) for number, face in enumerate(held_out)])
    bare = hidden_share(network.embed_and_map(to_faces([*held_out, *dark]))[1])
    for name, found in (("bare faces", bare[: len(held_out)]), ("the same relit", bare[len(held_out) :])):
        sys.stdout.write(f"{name}: {_said(found, np.zeros_like(found))}\n")
    for kind in (*FITTED, *HELD_OUT):
        maps, _, truth = make_samples(held_out, (kind,), 1, 1, network)
        sys.stdout.write(f"{kind}: {_said(hidden_share(maps), truth)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
