from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pocketface.distill.degradations import Ageing
from pocketface.distill.recipe import ModelRecipe, Recipe, Stage
from pocketface.distill.task import RestorationTask
from pocketface.distill.teacher_cache import CachedTeacher, TeacherCache, TeacherCacheWarning
from pocketface.distill.teachers import Teacher
from pocketface.runtime.errors import OutputError, RecipeError

SIDE = 32
# Half a level of 255 is the most that rounding to 8 bits moves a value; a float32 more for the division.
HALF_A_LEVEL = 0.5 / 255 + 1e-6


class Counted:
    """A teacher that counts the faces it is asked about."""

    def __init__(self, gain: float = 0.5, sha256: str = "a" * 64, *, guided: bool = False) -> None:
        self.faces = 0
        self.teacher = Teacher(self._run, "counted", sha256, side=SIDE, guided=guided)
        self._gain = gain

    def _run(self, given: Tensor, face: Tensor | None) -> Tensor:
        self.faces += len(given)
        return given * self._gain + (0 if face is None else face.mean(dim=(1, 2, 3), keepdim=True) / 4)


def _faces(count: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.said"))


def test_the_teacher_is_asked_once_and_answers_alike_ever_after(tmp_path: Path) -> None:
    counted, faces = Counted(), _faces()
    first = CachedTeacher(counted.teacher, tmp_path)(faces)
    again = CachedTeacher(counted.teacher, tmp_path)
    assert torch.equal(again(faces), first)
    assert counted.faces == 3
    assert (again.hits, again.misses) == (3, 0)
    np.testing.assert_allclose(first.numpy(), counted.teacher(faces).numpy(), atol=HALF_A_LEVEL, rtol=0)


def test_only_what_is_missing_is_asked_and_answers_keep_their_place(tmp_path: Path) -> None:
    counted = Counted()
    cached, faces = CachedTeacher(counted.teacher, tmp_path), _faces(5)
    cached(faces[[1, 3]])
    said = cached(faces)
    assert counted.faces == 5
    np.testing.assert_allclose(said.numpy(), faces.numpy() / 2, atol=HALF_A_LEVEL, rtol=0)


def test_teachers_are_never_mixed(tmp_path: Path) -> None:
    faces, one, other = _faces(), Counted(0.5, "a" * 64), Counted(0.25, "a" * 16 + "b" * 48)
    CachedTeacher(one.teacher, tmp_path)(faces)
    said = CachedTeacher(other.teacher, tmp_path)(faces)
    assert other.faces == 3
    np.testing.assert_allclose(said.numpy(), faces.numpy() / 4, atol=HALF_A_LEVEL, rtol=0)


def test_the_whole_face_is_part_of_the_question_to_a_guided_teacher(tmp_path: Path) -> None:
    counted, faces = Counted(guided=True), _faces(1)
    cached = CachedTeacher(counted.teacher, tmp_path)
    answers = [cached(faces), cached(faces, _faces(1, 1)), cached(faces, _faces(1, 2))]
    assert counted.faces == 3
    assert not torch.equal(answers[1], answers[2])


def test_what_a_teacher_does_not_look_at_is_no_part_of_the_question(tmp_path: Path) -> None:
    counted, faces = Counted(), _faces(1)
    cached = CachedTeacher(counted.teacher, tmp_path)
    assert torch.equal(cached(faces, _faces(1, 1)), cached(faces, _faces(1, 2)))
    assert counted.faces == 1


@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "swapped"])
def test_a_damaged_entry_is_told_and_asked_again(tmp_path: Path, damage: str) -> None:
    counted, faces = Counted(), _faces(2)
    first = CachedTeacher(counted.teacher, tmp_path)(faces)
    path, other = _entries(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    spoilt = {"truncated": content[:-5], "emptied": b"", "flipped": content, "swapped": other.read_bytes()}[damage]
    path.write_bytes(spoilt)
    with pytest.warns(TeacherCacheWarning, match=path.name):
        again = CachedTeacher(counted.teacher, tmp_path)(faces)
    assert torch.equal(again, first)
    assert counted.faces == 3
    assert torch.equal(CachedTeacher(counted.teacher, tmp_path)(faces), first)  # mended, and no warning is left
    assert counted.faces == 3


def test_a_full_cache_keeps_what_it_has_and_says_so_once(tmp_path: Path) -> None:
    counted = Counted()
    CachedTeacher(counted.teacher, tmp_path)(_faces(1))
    room = sum(path.stat().st_size for path in _entries(tmp_path)) + 10
    full = CachedTeacher(counted.teacher, tmp_path, room)
    with pytest.warns(TeacherCacheWarning, match="limit") as told:
        full(_faces(3, 1))
    assert len(told) == 1
    assert len(_entries(tmp_path)) == 1
    assert full.cache.bytes <= room
    full(_faces(1))
    assert full.hits == 1


def test_what_a_killed_writer_left_is_removed_later(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, "a" * 64)
    key = cache.key(_faces(1)[0].numpy())
    cache.put(key, np.zeros((SIDE, SIDE, 3), np.uint8))
    old, young = (_entries(tmp_path)[0].with_name(f".{name}.said") for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    again = TeacherCache(tmp_path, "a" * 64)
    assert not old.exists()
    assert young.exists()
    assert again.get(key) is not None
    assert again.bytes == cache.bytes + 4


_ENDLESS = """
import sys, torch
from pathlib import Path
from pocketface.distill.teacher_cache import CachedTeacher
from pocketface.distill.teachers import Teacher
cached = CachedTeacher(Teacher(lambda given, _: given / 2, "half", "c" * 64, side=32), Path(sys.argv[1]))
for seed in range(10**6):
    cached(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))
    print(seed, flush=True)
"""


def test_the_cache_survives_a_kill(tmp_path: Path) -> None:
    running = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    for _ in range(5):
        assert running.stdout.readline()
    running.send_signal(signal.SIGKILL)
    running.communicate()
    cached = CachedTeacher(Teacher(lambda given, _: given / 2, "half", "c" * 64, side=SIDE), tmp_path)
    for seed in range(5):
        faces = _faces(4, seed)
        np.testing.assert_allclose(cached(faces).numpy(), faces.numpy() / 2, atol=HALF_A_LEVEL, rtol=0)
    assert (cached.hits, cached.misses) == (20, 0)


def _recipe(preset: str, seed: int = 0) -> Recipe:
    stage = Stage(steps=3, batch=4, crop=SIDE, rate=(1.0, 1.0), losses={"pixel": 1.0})
    return Recipe(
        ModelRecipe("student", preset), Ageing({"medium": 1.0, "severe": 1.0}, sepia=0.3), (stage,), seed=seed
    )


def test_a_second_student_finds_what_the_first_one_paid_for(tmp_path: Path) -> None:
    pictures = (_faces(6).permute(0, 2, 3, 1) * 255).to(torch.uint8).contiguous()
    counted = Counted()

    def train(preset: str, seed: int = 0) -> tuple[CachedTeacher, list[Tensor]]:
        recipe = _recipe(preset, seed)
        task, cached = RestorationTask(recipe, pictures), CachedTeacher(counted.teacher, tmp_path)
        return cached, [cached(task.draw(recipe.stages[0], number).aged) for number in range(3)]

    first, said = train("nano")
    assert (first.hits, first.misses) == (0, 12)
    second, again = train("base")
    assert (second.hits, second.misses) == (12, 0)
    assert all(torch.equal(one, other) for one, other in zip(said, again, strict=True))
    third, _ = train("nano", seed=1)
    assert third.misses == 12
    assert counted.faces == 24


def test_crops_are_refused_as_the_teacher_refuses_them(tmp_path: Path) -> None:
    teacher = Teacher(lambda given, _: given, "fixed", "d" * 64, size=64, side=SIDE)
    cached = CachedTeacher(teacher, tmp_path)
    cached.check_crop(SIDE)
    with pytest.raises(RecipeError):
        cached.check_crop(16)
    with pytest.raises(RecipeError):
        cached(_faces(1)[..., :16, :16])


def test_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        TeacherCache(tmp_path / "file", "a" * 64)
