"""The standard verification sets as lists of pairs: LFW, CFP-FP, insightface's `.bin` files, and plain text lists.

None of them is shipped or fetched. Readers check what they can count before any network runs, and name what is missing.

Source: LFW (Huang et al. 2007), CFP (Sengupta et al. 2016), AgeDB-30 (Moschoglou et al. 2017); facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..runtime.errors import InputError
from .bin_sets import read_bin

FOLDS = 10
# Two pictures and whether they are of one person.
_Listed: TypeAlias = tuple[Path, Path, bool]


@dataclass(frozen=True)
class PairSet:
    """Pairs of pictures to be told apart.

    Args:
        name: for tables.
        pictures: files, or encoded pictures.
        first, second: for each pair, the indices of its pictures.
        same: for each pair, whether both are one person.
        folds: for each pair, its fold in [0, FOLDS).
        aligned: the pictures are crops of the ArcFace template already; else they are photographs.
    """

    name: str
    pictures: tuple[Path | bytes, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]
    same: tuple[bool, ...]
    folds: tuple[int, ...]
    aligned: bool

    def __post_init__(self) -> None:
        if len(self.same) < FOLDS or len(set(self.same)) < 2:
            kinds = f"{sum(self.same)} of {len(self.same)} genuine"
            raise InputError(f"at least {FOLDS} pairs, genuine and impostor, in {self.name}", kinds)


def read_lfw(folder: Path) -> PairSet:
    """Read LFW: photographs `NAME/NAME_0001.jpg`, and `pairs.txt` in their folder or beside it.

    The list begins with the number of folds and of pairs of each kind a fold; the genuine and the impostor pairs of
    each fold follow.

    Raises:
        InputError: no list, a line of another form, another number of lines than its head says, or a missing picture.
    """
    beside = folder.parent / "pairs.txt"
    place = beside if beside.is_file() and not (folder / "pairs.txt").is_file() else folder / "pairs.txt"
    head, *lines = _read_lines(place)
    numbers = [int(word) for word in head.split() if word.isdecimal()]
    each = numbers[1] if len(numbers) == 2 and numbers[0] == FOLDS else 0
    if each < 1 or len(lines) != 2 * FOLDS * each:
        raise InputError(f"'{FOLDS} N' and {2 * FOLDS} N lines of pairs", f"'{head}' and {len(lines)} lines in {place}")
    listed, folds = list[_Listed](), list[int]()
    for number, line in enumerate(lines):
        genuine = number % (2 * each) < each
        first, second = _lfw_shots(line, genuine=genuine, where=f"line {number + 2} of {place}")
        listed.append((_lfw_picture(folder, *first), _lfw_picture(folder, *second), genuine))
        folds.append(number // (2 * each))
    return _of_files("lfw", listed, folds, aligned=False)


def _lfw_shots(line: str, *, genuine: bool, where: str) -> tuple[tuple[str, int], tuple[str, int]]:
    words = line.split()
    if genuine and len(words) == 3:
        words = [words[0], words[1], words[0], words[2]]
    elif genuine or len(words) != 4:
        words = []
    if not words or not (words[1].isdecimal() and words[3].isdecimal()):
        raise InputError("'NAME i j' for one person, 'NAME i NAME j' for two", f"'{line}' in {where}")
    return (words[0], int(words[1])), (words[2], int(words[3]))


def _lfw_picture(folder: Path, name: str, shot: int) -> Path:
    return folder / name / f"{name}_{shot:04d}.jpg"


def read_cfp(folder: Path) -> PairSet:
    """Read CFP's frontal-profile protocol: `Protocol/Pair_list_F.txt`, `Pair_list_P.txt`, `Split/FP/01/same.txt`, ...

    Raises:
        InputError: a missing file, a line of another form, a number that the lists do not have, or folds that differ
            in their numbers of pairs.
    """
    protocol = folder / "Protocol"
    sides = [_read_cfp_list(protocol / f"Pair_list_{side}.txt") for side in "FP"]
    listed, folds, counts = list[_Listed](), list[int](), dict[Path, int]()
    for fold in range(FOLDS):
        for name, genuine in (("same.txt", True), ("diff.txt", False)):
            place = protocol / "Split" / "FP" / f"{fold + 1:02d}" / name
            lines = _read_lines(place)
            counts[place] = len(lines)
            for line in lines:
                numbers = line.replace(",", " ").split()
                files = [side.get(number) for side, number in zip(sides, numbers, strict=False)]
                if len(numbers) != 2 or files[0] is None or files[1] is None:
                    raise InputError("'i,j' of the frontal and the profile list", f"'{line}' in {place}")
                listed.append((files[0], files[1], genuine))
                folds.append(fold)
    for place, count in counts.items():
        if count != next(iter(counts.values())):
            raise InputError(f"{next(iter(counts.values()))} pairs in every file", f"{count} in {place}")
    return _of_files("cfp_fp", listed, folds, aligned=False)


def _read_cfp_list(place: Path) -> dict[str, Path]:
    """Number -> file; the files are named from the list's own folder."""
    found: dict[str, Path] = {}
    for line in _read_lines(place):
        number, _, file = line.partition(" ") if " " in line else line.partition("\t")
        if not number.isdecimal() or not file.strip():
            raise InputError("'i ../Data/Images/001/frontal/01.jpg'", f"'{line}' in {place}")
        found[number] = (place.parent / file.strip()).resolve()
    return found


def read_list(place: Path, *, aligned: bool) -> PairSet:
    """Read a text list, `FILE FILE 1` for one person and `FILE FILE 0` for two, in ten folds as it stands.

    Args:
        place: the list; files are named from its folder. Names with spaces need tabs between them.
        aligned: the pictures are 112 x 112 crops of the ArcFace template.

    Raises:
        InputError: no list, a line of another form, fewer pairs than folds, or a missing picture.
    """
    listed = list[_Listed]()
    for line in _read_lines(place):
        words = line.split("\t") if "\t" in line else line.split()
        if len(words) != 3 or words[2].strip() not in ("0", "1"):
            raise InputError("'FILE FILE 1' or 'FILE FILE 0'", f"'{line}' in {place}")
        first, second = (place.parent / word.strip() for word in words[:2])
        listed.append((first, second, words[2].strip() == "1"))
    return _of_files(place.stem, listed, _in_order(len(listed)), aligned=aligned)


def read_bin_set(place: Path) -> PairSet:
    """Read insightface's `.bin` file: aligned crops, in ten folds as they stand.

    Raises:
        InputError: see `bin_sets.read_bin`.
    """
    pictures, same = read_bin(place)
    places = range(len(same))
    first, second = tuple(2 * index for index in places), tuple(2 * index + 1 for index in places)
    folds = tuple(_in_order(len(same)))
    return PairSet(place.stem, tuple(pictures), first, second, tuple(same), folds, aligned=True)


def _in_order(pairs: int) -> list[int]:
    """Ten folds of neighbouring pairs, the first ones one larger where ten does not divide them."""
    size, more = divmod(pairs, FOLDS)
    return [fold for fold in range(FOLDS) for _ in range(size + (fold < more))]


def _of_files(name: str, listed: Sequence[_Listed], folds: Sequence[int], *, aligned: bool) -> PairSet:
    """Number the files of pairs, each once, and see that all are there."""
    numbers: dict[Path, int] = {}
    for first, second, _ in listed:
        numbers.setdefault(first, len(numbers))
        numbers.setdefault(second, len(numbers))
    missing = [file for file in numbers if not file.is_file()]
    if missing:
        raise InputError(f"{len(numbers)} pictures of {name}", f"no {missing[0]} ({len(missing)} are missing)")
    first, second, same = zip(*listed, strict=True) if listed else ((), (), ())
    return PairSet(
        name, tuple(numbers), tuple(map(numbers.__getitem__, first)), tuple(map(numbers.__getitem__, second)),
        tuple(same), tuple(folds), aligned,
    )  # fmt: skip


def _read_lines(place: Path) -> list[str]:
    """The lines of a text file that are not empty; at least one."""
    try:
        lines = [line.strip() for line in place.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise InputError("a list of pairs", f"{place}: {reason}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise InputError("a list of pairs", f"nothing in {place}")
    return lines
