"""insightface's .bin files: every way they are written is read, nothing that they could run is."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pocketface.bench import bin_sets
from pocketface.bench.bin_sets import read_bin
from pocketface.runtime.errors import InputError

SAME = [True, False, True]


def pictures() -> list[bytes]:
    """Six tiny encoded pictures, no two alike."""
    grey = [np.full((4, 4, 3), 40 * index, np.uint8) for index in range(6)]
    return [cv2.imencode(".png", one)[1].tobytes() for one in grey]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "store",
    [bytes, lambda one: np.frombuffer(one, np.uint8), lambda one: np.frombuffer(one, np.uint8)[:, None].copy()],
    ids=["bytes", "array", "column"],
)
def test_pictures_come_out_as_they_went_in(tmp_path: Path, protocol: int, store: Callable[[bytes], object]) -> None:
    (tmp_path / "set.bin").write_bytes(pickle.dumps(([store(one) for one in pictures()], SAME), protocol))
    assert read_bin(tmp_path / "set.bin") == (pictures(), SAME)


@pytest.mark.parametrize("protocol", [2, 5])
def test_truth_values_may_be_numpys(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "set.bin").write_bytes(pickle.dumps((pictures(), [np.bool_(one) for one in SAME]), protocol))
    assert read_bin(tmp_path / "set.bin")[1] == SAME


def test_a_file_written_by_python_2_is_read(tmp_path: Path) -> None:
    # As Python 2 wrote (['\xff\xd8', 'b'], [True]) with protocol 2: strings are SHORT_BINSTRING.
    (tmp_path / "set.bin").write_bytes(b"\x80\x02]q\x00(U\x02\xff\xd8q\x01U\x01bq\x02e]q\x03\x88a\x86q\x04.")
    assert read_bin(tmp_path / "set.bin") == ([b"\xff\xd8", b"b"], [True])


class _Calls:
    """Asks the reader to call something."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("call", "named"), [(Path.touch, "getattr"), (eval, "eval"), (np.load, "load"), (np.frombuffer, "frombuffer")]
)
def test_what_would_run_is_refused_and_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, call: Callable[..., object], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (Path("touched"),) if call is Path.touch else ("__import__('pathlib').Path('touched').touch()",)
    content = ([*pictures()[:5], _Calls(call, *arguments)], SAME)
    (tmp_path / "set.bin").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(InputError, match=f"would call .*({named}|touch|Path)"):
        read_bin(tmp_path / "set.bin")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("stand_in", ["_codecs encode", "numpy ndarray", "numpy.core.multiarray _reconstruct"])
def test_a_stand_in_cannot_be_changed_by_a_file(tmp_path: Path, stand_in: str) -> None:
    module, name = stand_in.split()
    before = {kind: dict(vars(kind)) for kind in bin_sets._ALLOWED.values()}
    # The global itself, then BUILD with (None, {"content": True}): setattr(global, "content", True).
    attack = f"c{module}\n{name}\n".encode() + b"(N(S'content'\nI01\ndtb."
    (tmp_path / "set.bin").write_bytes(attack)
    with pytest.raises(InputError, match="TypeError"):
        read_bin(tmp_path / "set.bin")
    assert {kind: dict(vars(kind)) for kind in bin_sets._ALLOWED.values()} == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"bins": []}, "two lists"),
        ((pictures(), SAME, SAME), "two lists"),
        ((pictures()[:5], SAME), "5 pictures of 3 pairs"),
        (([], []), "0 pictures of 0 pairs"),
        ((["text", *pictures()[1:]], SAME), "str"),
        (([None, *pictures()[1:]], SAME), "NoneType"),
        (([1, *pictures()[1:]], SAME), "pictures as bytes"),
        ((pictures(), [True, False, 2]), "True or False"),
        ((pictures(), [True, False, b"1"]), "True or False"),
        ((pictures(), [True, False, 0.5]), "float"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, complaint: str) -> None:
    (tmp_path / "set.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=complaint):
        read_bin(tmp_path / "set.bin")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    whole = pickle.dumps((pictures(), SAME))
    (tmp_path / "set.bin").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"whole \.bin file"):
        read_bin(tmp_path / "set.bin")


def test_a_reference_to_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.bin").write_bytes(b"Pelsewhere\n.")
    with pytest.raises(InputError, match="elsewhere"):
        read_bin(tmp_path / "set.bin")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set\.bin: No such file"):
        read_bin(tmp_path / "set.bin")
