"""What lies in tar shards, by names, headers and class numbers."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from iavit.data import shard_index
from iavit.data.shard_index import by_split, look_into
from iavit.errors import UserError
from tests.data.files import png


def tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    """A shard of these files, in this order."""
    with tarfile.open(path, "w") as file:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, BytesIO(content))
    return path


def samples(*names: str) -> list[tuple[str, bytes]]:
    """Two files of each name, the classes 0, 1, 0, ..."""
    return [
        (f"{name}.{ending}", str(number % 2).encode() if ending == "cls" else png(number))
        for number, name in enumerate(names)
        for ending in ("cls", "png")
    ]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar", "imagenet1k-test-00.tar"),
        ("train-0.tar", "val-0.tar", "test-0.tar"),
        ("Training_000.tar", "pets.valid.001.tar", "pets_TESTING_1.tar"),
        ("x-train2017.tar", "x-val2017.tar", "x-test2017.tar"),
    ],
)
def test_a_split_is_recognised_anywhere_in_a_name(train: str, val: str, test: str) -> None:
    assert by_split([test, train, val]) == {"train": [train], "val": [val], "test": [test]}


def test_names_that_only_look_like_a_split_are_none() -> None:
    names = ["contest-0.tar", "latest.tar", "values.tar", "trainval.tar"]
    assert by_split(names) == {"train": names, "val": [], "test": []}


def test_a_name_of_two_splits_or_of_none_among_others_is_refused() -> None:
    with pytest.raises(UserError, match=r"train-val-0\.tar names two splits, train and val"):
        by_split(["train-val-0.tar"])
    with pytest.raises(UserError, match=r"part-0\.tar names no split, and others"):
        by_split(["train-0.tar", "part-0.tar"])


def test_samples_are_counted_as_webdataset_takes_them_together(tmp_path: Path) -> None:
    extra = [("a/s2.seg.png", b"x"), (".hidden", b"x"), ("__meta__", b"x"), ("README", b"x")]
    path = tar(tmp_path / "0.tar", [*samples("a/s0", "a/s1", "a/s2"), *extra])
    (shard,), classes = look_into([str(path)], skip=False)
    assert (shard.count, shard.labels, shard.broken) == (3, (0, 1, 0), ())
    assert classes == ("0", "1")


def test_an_empty_shard_has_no_class(tmp_path: Path) -> None:
    one = tar(tmp_path / "0.tar", [("a.cls", b"0"), ("a.png", png(1))])
    empty = tar(tmp_path / "1.tar", [])
    with pytest.raises(UserError, match="the shards have one class only"):
        look_into([str(one), str(empty)], skip=False)


BROKEN: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "dots": (samples("img.v1", "img.v2"), r"img is a sample with the file img\.v1\.cls: what"),
    "no class": ([("s.png", png(1))], r"s has no \.cls; write its number into s\.cls"),
    "json": ([("s.png", png(1)), ("s.json", b"{}")], r"s has no \.cls, but a \.json: write the"),
    "no image": ([("s.cls", b"1"), ("s.txt", b"a")], r"s has no image \(jpg, jpeg, png, webp\)"),
    "twice": ([*samples("s"), ("s.png", png(2))], r"s has two files \.png"),
    "negative": ([("s.cls", b"-1"), ("s.png", png(1))], r"s\.cls is no class number from 0"),
    "a word": ([("s.cls", b"cat"), ("s.png", png(1))], r"s\.cls is no class number from 0"),
    "huge": ([("s.cls", b"2000000000"), ("s.png", png(1))], r"no class number from 0 to 99999"),
    "long": ([("s.cls", b"1" * 5000), ("s.png", png(1))], r"s\.cls is no class number"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_sample_that_breaks_the_rule_is_named_or_left_out(tmp_path: Path, name: str) -> None:
    files, message = BROKEN[name]
    path = str(tar(tmp_path / "0.tar", [*samples("good", "fine"), *files]))
    with pytest.raises(UserError, match=message) as caught:
        look_into([path], skip=False)
    assert str(caught.value).startswith(path)
    (shard,), classes = look_into([path], skip=True)
    assert shard.labels is not None
    assert shard.labels[:2] == (0, 1)
    assert set(shard.labels[2:]) == {-1}
    assert len(shard.broken) == shard.count - 2
    assert classes == ("0", "1")


def test_a_file_that_is_too_large_to_be_read_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar(tmp_path / "0.tar", samples("a", "b"))
    monkeypatch.setattr(shard_index, "BYTES_LIMIT", 10)
    with pytest.raises(UserError, match=r"a\.png has \d+ bytes"):
        look_into([str(path)], skip=False)


@pytest.mark.parametrize("beside", ["[", "[1]", '{"0.tar": "many"}', "[" * 100_000])
def test_damaged_files_beside_the_shards_are_named(tmp_path: Path, beside: str) -> None:
    path = tar(tmp_path / "0.tar", samples("a", "b"))
    (tmp_path / "sizes.json").write_text(beside)
    if beside == "[1]":  # a list names no shard
        assert look_into([str(path)], skip=False)[0][0].count == 2
        return
    with pytest.raises(UserError, match=r"sizes\.json or classes\.txt is damaged"):
        look_into([str(path)], skip=False)
