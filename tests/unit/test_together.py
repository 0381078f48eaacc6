"""Outputs that belong together come to be together: where one cannot be written, none stands and none is left over."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from data_gen import outputs
from data_gen.errors import DataError
from data_gen.outputs import Together, write_text
from distill.cli import main
from tests import samples
from tests.samples import write

in_empty_folder = samples.in_empty_folder
FULL = OSError(errno.ENOSPC, "No space left on device")


class FullFile:
    """A file that takes nothing."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, data: bytes) -> int:
        self.file.write(data[: len(data) // 2])
        raise FULL

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The disk is full for files of which the name ends with one of these."""
    opened, endings = Path.open, []  # type: ignore[var-annotated]

    def open_(path: Path, *given: Any, **more: Any) -> Any:
        file = opened(path, *given, **more)
        return FullFile(file) if path.name.endswith(tuple(f"{ending}.part" for ending in endings)) else file

    monkeypatch.setattr(Path, "open", open_)
    return endings


@pytest.mark.parametrize("ending", ["out.jsonl", "heldout.jsonl", "manifest.json"])
@pytest.mark.parametrize("kind", ["sample", "mix"])
def test_a_full_disk_leaves_no_rows_without_their_manifest(
    kind: str, ending: str, full: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """So the same command runs again when there is room."""
    source = write()
    Path("mix.yaml").write_text(f"name: m\nheldout: 0.2\nsources: {{{source}: 50}}\n")
    split = ["--heldout", "0.2", "--heldout-out", "out.heldout.jsonl", "--manifest"]
    argv = ["sample", "--mix", "mix.yaml"] if kind == "mix" else ["sample", source, "--rows", "50", *split]
    before = sorted(os.listdir())
    full.append(ending)
    assert main([*argv, "-o", "out.jsonl"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("distill: no space left on the disk while writing out.")
    assert f"{ending}; free some" in said
    assert sorted(os.listdir()) == before
    full.clear()
    assert main([*argv, "-o", "out.jsonl"]) == 0
    assert {"out.jsonl", "out.heldout.jsonl", "out.manifest.json"} < set(os.listdir())


def test_what_stood_there_stays_when_it_cannot_be_replaced(full: list[str]) -> None:
    source = write()
    assert main(["sample", source, "--manifest", "--seed", "1", "-o", "out.jsonl"]) == 0
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    full.append("manifest.json")
    assert main(["sample", source, "--manifest", "--seed", "2", "--rows", "9", "--force", "-o", "out.jsonl"]) == 2
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_files_that_took_their_names_go_again_when_another_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def second_fails(old: Any, new: Any) -> None:
        if Path(new).name == "b":
            raise OSError(errno.EIO, "Input/output error", str(old), None, str(new))
        replace(old, new)

    Path("old").write_text("before")
    monkeypatch.setattr("os.replace", second_fails)
    files = Together()
    for name in ("a", "old", "b", "c"):
        files.open(Path(name))(b"new")
    with pytest.raises(OSError, match="Input/output") as caught, files:
        pass
    assert caught.value.filename == "b"
    assert os.listdir() == ["old"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_whatever_ends_the_room_names_the_file(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *given: Any, **more: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        write_text(Path("card.md"), "text")
    assert caught.value.filename == "card.md"


def test_an_error_of_reading_is_not_blamed_on_the_output() -> None:
    files = Together()
    files.open(Path("out.jsonl"))(b"text")
    with pytest.raises(FileNotFoundError) as caught, files:
        Path("none").read_bytes()
    assert caught.value.filename == "none"
    assert not os.listdir()


def test_folders_that_were_made_for_nothing_go_again() -> None:
    Path("old").mkdir()
    for name in ("new/deep/a", "old/b", "old/more/c"):
        files = Together()
        files.open(Path("new/other/z"))
        files.open(Path(name))(b"text")
        with pytest.raises(FileNotFoundError), files:
            Path("none").read_bytes()
        assert list(Path().rglob("*")) == [Path("old")]


def test_a_part_holds_all_that_was_written() -> None:
    with Together() as files:
        files.open(Path("a"))(b"text")
        assert files.part(Path("a")).read_bytes() == b"text"
        assert files.part(Path("a")) == outputs.part_of(Path("a"))
    assert Path("a").read_bytes() == b"text"


def test_two_runs_never_write_to_one_file() -> None:
    """Both would end well, and leave a torn file."""
    with Together() as files:
        write = files.open(Path("out.jsonl"))
        write(b"first\n")
        others = Together()
        others.open(Path("beside.jsonl"))(b"x")
        with pytest.raises(DataError, match=r"out.jsonl is being written by another run; wait"), others:
            others.open(Path("out.jsonl"))
        assert os.listdir() == ["out.jsonl.part"]
        write(b"second\n")
    assert Path("out.jsonl").read_bytes() == b"first\nsecond\n"
    Path("out.jsonl.part").write_bytes(b"what a killed run left behind")
    with Together() as files:
        files.open(Path("out.jsonl"))(b"third\n")
    assert (os.listdir(), Path("out.jsonl").read_bytes()) == (["out.jsonl"], b"third\n")


def test_a_file_that_takes_its_name_just_now_is_not_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened under its temporary name, and the lock is free when it has its own."""
    lock, turns = fcntl.flock, iter([True])

    def late(file: Any, how: int) -> None:
        if next(turns, False):
            Path("out.jsonl.part").rename("out.jsonl")
        lock(file, how)

    Path("out.jsonl.part").write_bytes(b"whole")
    monkeypatch.setattr(fcntl, "flock", late)
    files = Together()
    files.open(Path("out.jsonl"))(b"more")
    assert Path("out.jsonl").read_bytes() == b"whole"
    with files:
        pass
    assert (os.listdir(), Path("out.jsonl").read_bytes()) == (["out.jsonl"], b"more")


def test_a_card_is_written_whole_or_not_at_all(full: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    full.append("card.md")
    assert main(["datasets", "card", "coig", "-o", "card.md"]) == 2
    assert "while writing card.md; free some" in capsys.readouterr().err
    assert not os.listdir()


def test_a_picture_is_written_whole_or_not_at_all(full: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    full.append("lengths.svg")
    assert main(["datasets", "stats", "curriculum", "--svg", "lengths.svg"]) == 2
    assert "while writing lengths.svg; free some" in capsys.readouterr().err
    assert not os.listdir()


def test_a_source_is_added_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write()
    put = Path.write_text

    def full(path: Path, data: str, **more: Any) -> int:
        put(path, data[: len(data) // 2], **more)
        raise FULL

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["datasets", "add", source, "--id", "mine"]) == 2
    assert "while writing sources/mine.yaml; free some" in capsys.readouterr().err
    assert os.listdir() == ["in.jsonl"]
