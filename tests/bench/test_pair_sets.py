"""The protocols' lists: who is paired with whom, in which fold, and lists that are not what they say."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pocketface.bench.pair_sets import FOLDS, PairSet, read_bin_set, read_cfp, read_lfw, read_list
from pocketface.runtime.errors import InputError

PEOPLE = ("Ann_Ace", "Bob_Bee")


def write_lfw(folder: Path, each: int = 1) -> Path:
    """A set of two people with two photographs each (empty files); each fold has the same pairs."""
    for name in PEOPLE:
        (folder / name).mkdir(parents=True)
        for shot in (1, 2):
            (folder / name / f"{name}_{shot:04d}.jpg").touch()
    lines = ["Ann_Ace\t1\t2"] * each + ["Ann_Ace\t1\tBob_Bee\t2"] * each
    (folder / "pairs.txt").write_text(f"{FOLDS}\t{each}\n" + "\n".join(lines * FOLDS) + "\n")
    return folder


def write_cfp(folder: Path) -> Path:
    """Two people with one frontal and one profile photograph each (empty files), two pairs of a kind a fold."""
    protocol = folder / "Protocol"
    for side, kind in (("F", "frontal"), ("P", "profile")):
        lines = [f"{number} ../Data/Images/{number:03d}/{kind}/01.jpg" for number in (1, 2)]
        protocol.mkdir(parents=True, exist_ok=True)
        (protocol / f"Pair_list_{side}.txt").write_text("\n".join(lines))
        for number in (1, 2):
            place = folder / "Data" / "Images" / f"{number:03d}" / kind
            place.mkdir(parents=True)
            (place / "01.jpg").touch()
    for fold in range(1, FOLDS + 1):
        place = protocol / "Split" / "FP" / f"{fold:02d}"
        place.mkdir(parents=True)
        (place / "same.txt").write_text("1,1\n2,2\n")
        (place / "diff.txt").write_text("1,2\n2,1\n")
    return folder


def names(pairs: PairSet, index: int) -> tuple[str, str]:
    """The files of one pair."""
    first, second = (pairs.pictures[side[index]] for side in (pairs.first, pairs.second))
    assert isinstance(first, Path)
    assert isinstance(second, Path)
    return first.name, second.name


@pytest.mark.parametrize("beside", [False, True])
def test_lfw_is_read_as_its_protocol_says(tmp_path: Path, beside: bool) -> None:
    folder = write_lfw(tmp_path / "lfw", each=2)
    if beside:
        (folder / "pairs.txt").rename(tmp_path / "pairs.txt")
    found = read_lfw(folder)
    assert found.same == (True, True, False, False) * FOLDS
    assert found.folds == tuple(fold for fold in range(FOLDS) for _ in range(4))
    assert names(found, 0) == ("Ann_Ace_0001.jpg", "Ann_Ace_0002.jpg")
    assert names(found, 2) == ("Ann_Ace_0001.jpg", "Bob_Bee_0002.jpg")
    assert len(found.pictures) == 3  # each once
    assert not found.aligned


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("10\t1\n", "10\t2\n", "40 N|20 N|20 lines"),
        ("10\t1\n", "5\t2\n", "20 lines"),
        ("10\t1\n", "hello\n", "'hello'"),
        ("10\t1\n", "", "'Ann_Ace"),
        ("Ann_Ace\t1\t2", "Ann_Ace\tone\t2", "line 2 of"),
        ("Ann_Ace\t1\t2", "Ann_Ace\t1", "line 2 of"),
        ("Ann_Ace\t1\tBob_Bee\t2", "Ann_Ace\t1\t2", "line 3 of"),
        ("Bob_Bee\t2", "Bob_Bee\t7", r"no .*Bob_Bee_0007\.jpg"),
    ],
)
def test_lfw_lists_of_another_form_are_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    folder = write_lfw(tmp_path / "lfw")
    text = (folder / "pairs.txt").read_text()
    assert old in text
    (folder / "pairs.txt").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=complaint):
        read_lfw(folder)


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs\.txt: No such file"):
        read_lfw(tmp_path)
    with pytest.raises(InputError, match=r"Pair_list_F\.txt: No such file"):
        read_cfp(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"nothing in .*empty\.txt"):
        read_list(tmp_path / "empty.txt", aligned=True)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_list(tmp_path / "binary.txt", aligned=True)


def test_cfp_pairs_a_frontal_with_a_profile_photograph(tmp_path: Path) -> None:
    found = read_cfp(write_cfp(tmp_path / "cfp"))
    assert found.same == (True, True, False, False) * FOLDS
    first, second = found.pictures[found.first[2]], found.pictures[found.second[2]]
    assert str(first).endswith("001/frontal/01.jpg")
    assert str(second).endswith("002/profile/01.jpg")
    assert found.folds[4] == 1


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("Split/FP/03/same.txt", "1,1\n", "2 pairs in every file.*1 in .*03.same"),
        ("Split/FP/03/same.txt", "1,1\n2,3\n", "'2,3'"),
        ("Split/FP/03/same.txt", "1,1\n2\n", "'2' in"),
        ("Split/FP/03/same.txt", "", "nothing in"),
        ("Pair_list_P.txt", "1 ../Data/Images/001/profile/01.jpg\n2 ../Data/x.jpg", r"no .*x\.jpg"),
        ("Pair_list_P.txt", "1\n2", "'1' in"),
    ],
)
def test_cfp_lists_of_another_form_are_refused(tmp_path: Path, file: str, content: str, complaint: str) -> None:
    folder = write_cfp(tmp_path / "cfp")
    (folder / "Protocol" / file).write_text(content)
    with pytest.raises(InputError, match=complaint):
        read_cfp(folder)


def write_list(folder: Path, lines: list[str]) -> Path:
    """A text list beside its (empty) pictures."""
    for name in ("a.png", "b.png", "with space.png"):
        (folder / name).touch()
    (folder / "mine.txt").write_text("\n".join(lines))
    return folder / "mine.txt"


def test_a_text_list_is_cut_into_ten_folds_as_it_stands(tmp_path: Path) -> None:
    lines = ["a.png b.png 1", "a.png\twith space.png\t0"] * 11
    found = read_list(write_list(tmp_path, lines), aligned=True)
    assert found.name == "mine"
    assert found.aligned
    assert [found.folds.count(fold) for fold in range(FOLDS)] == [3, 3, *[2] * 8]
    assert list(found.folds) == sorted(found.folds)
    assert names(found, 1) == ("a.png", "with space.png")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["a.png b.png 1"] * 20, "20 of 20 genuine"),
        (["a.png b.png 1", "a.png b.png 0"] * 4, "4 of 8 genuine"),
        (["a.png b.png yes"], "'a.png b.png yes'"),
        (["a.png b.png"], "'a.png b.png'"),
        (["a.png c.png 1", "a.png d.png 0"] * 10, r"no .*c\.png \(2 are missing\)"),
    ],
)
def test_text_lists_of_another_form_are_refused(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_list(write_list(tmp_path, lines), aligned=False)


def test_a_bin_file_pairs_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "agedb_30.bin").write_bytes(pickle.dumps(([b"%d" % n for n in range(40)], [True, False] * 10)))
    found = read_bin_set(tmp_path / "agedb_30.bin")
    assert found.name == "agedb_30"
    assert found.pictures[found.first[3]] == b"6"
    assert found.pictures[found.second[3]] == b"7"
    assert found.folds[:4] == (0, 0, 1, 1)
    assert found.aligned
