"""Far places, by the one URL that every machine can reach: file://, through the same fsspec as s3://."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from pocketface.runtime import cli
from pocketface.runtime.batch.record import Entry
from pocketface.runtime.batch.stores import Store, _time_of, is_url
from pocketface.runtime.errors import BackendError, ImageError, InputError, OutputError

needs_fsspec = pytest.mark.skipif(
    importlib.util.find_spec("fsspec") is None, reason="fsspec is not installed: make test-cluster"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for name in ("a.jpg", "sub/b.bmp", "note.txt"):
        path = tmp_path / "bucket" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")
    return Store((tmp_path / "bucket").as_uri())


def test_a_url_is_told_from_a_path() -> None:
    assert is_url("s3://bucket/album")
    assert not is_url("album/s3:/x")
    assert not is_url(Path("/album"))


@needs_fsspec
def test_a_store_is_listed(store: Store) -> None:
    found = {one.name: one for one in store.entries()}
    assert {name: (one.output, one.status) for name, one in found.items()} == {
        "a.jpg": ("a.jpg", ""), "sub/b.bmp": ("sub/b.bmp.png", ""), "note.txt": ("", "ignored"),
    }  # fmt: skip
    assert found["a.jpg"].bytes == 5
    assert found["a.jpg"].mtime_ns > 1_600_000_000 * 10**9
    assert store.sizes() == {"a.jpg": 5, "note.txt": 5, "sub/b.bmp": 5}
    assert isinstance(store.entries(".png")[0], Entry)


@needs_fsspec
def test_objects_go_and_come(store: Store, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"restored")
    store.put(tmp_path / "local", "new/deep/c.jpg")
    store.fetch("new/deep/c.jpg", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"restored"
    with pytest.raises(ImageError, match="readable object"):
        store.fetch("nothing.jpg", tmp_path / "copy")
    with pytest.raises(OutputError, match="writable"):
        store.put(tmp_path / "no such file", "d.jpg")


@needs_fsspec
def test_nothing_there_and_no_way_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing at"):
        Store((tmp_path / "none").as_uri()).entries()
    with pytest.raises(BackendError, match="pip install"):
        Store("nosuchprotocol://bucket").entries()


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ({"mtime": 1.5}, 1.5),
        ({"LastModified": "2026-01-01T00:00:00+00:00"}, 1767225600),
        ({"updated": "2026-01-01T00:00:00Z"}, 1767225600),
        ({"size": 3}, 0),
    ],
)
def test_stores_tell_the_time_in_their_own_ways(facts: dict[str, object], seconds: float) -> None:
    assert _time_of(facts) == seconds * 10**9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s3://b/in", "-o", "out"], "--engine ray"),
        (["in", "-o", "s3://b/out", "--engine", "ray"], "--records"),
        (["in", "-o", "out", "--records", "rec"], "--records"),
        (["s3://b/in", "s3://b/more", "-o", "out", "--engine", "ray"], "one URL"),
        (["s3://b/in", "-o", "s3://b", "--engine", "ray", "--records", "rec"], "outside the output"),
    ],
)
def test_impossible_wishes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"photo")
    assert cli.main(["restore", *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
