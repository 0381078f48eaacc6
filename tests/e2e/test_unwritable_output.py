"""An output that cannot be written: one sentence that names it, what is wrong, and the way out; nothing is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from tests.fault_server import FaultServer


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    Path("in.jsonl").write_text('{"instruction": "#0# 问题"}\n{"instruction": "#1# 问题"}\n', encoding="utf-8")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def arguments(server: FaultServer, output: str) -> list[str]:
    asked = ["generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--base-url", server.url]
    return [*asked, "--instructions", "in.jsonl", "-o", output]


def refused(server: FaultServer, output: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments(server, output)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"distill: cannot write {output}: ")
    assert server.asked.total() == 0, "nothing is paid for what cannot be kept"
    return said


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system in which nobody makes files")
def test_where_no_file_can_be_made(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(server, "/proc/a.jsonl", capsys)
    assert "no file can be made in /proc; give another output with -o, or mend that" in said


@pytest.mark.parametrize("ending", ["jsonl.journal", "recipe.json", "rejected.jsonl", "novelty.jsonl", "jsonl.part"])
def test_a_folder_where_a_file_should_be(ending: str, server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path(f"out.{ending}").mkdir()
    said = refused(server, "out.jsonl", capsys)
    assert f"out.{ending}, which belongs to it, is a folder; move that away, or give another output" in said


def inputs_of(option: str) -> list[str]:
    """Options that read `mine.jsonl`, beside those that are there."""
    return {
        "--strategies": ["--strategies", "{answer: {instructions: mine.jsonl}}"],
        "--filters": ["--filters", "{against: {files: [mine.jsonl]}}"],
    }.get(option, [option, "mine.jsonl"])


@pytest.mark.parametrize("output", ["mine.jsonl", "link.jsonl", "mine"])
@pytest.mark.parametrize("option", ["--instructions", "--against", "--template", "--strategies", "--filters"])
def test_what_is_read_is_never_written_over(
    option: str, output: str, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor when it only stands where a file beside the output would come to stand."""
    mine = Path("mine.jsonl" if output != "mine" else "mine.rejected.jsonl")
    mine.write_text('{"instruction": "#0# 问题"}\n', encoding="utf-8")
    Path("link.jsonl").symlink_to(mine)
    more = [each.replace("mine.jsonl", str(mine)) for each in inputs_of(option)]
    argv = [*arguments(server, output), *more, "--force"]
    if option == "--strategies":
        del argv[1:3]
    assert main(argv) == 2
    said = f"distill: {mine} is read, and -o {output} would write over it; give another output\n"
    assert capsys.readouterr().err == said
    assert mine.read_text(encoding="utf-8") == '{"instruction": "#0# 问题"}\n'
    assert server.asked.total() == 0


@pytest.mark.parametrize("output", ["/dev/null", "-"])
def test_what_is_no_file(output: str, server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(server, output), "--force"]) == 2
    assert f"{output} is no ordinary file, as it must be" in capsys.readouterr().err
    assert output == "-" or Path(output).is_char_device()


def test_a_name_that_is_too_long(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert "File name too long" in refused(server, "n" * 250, capsys)


@pytest.mark.parametrize("locked", ["closed", "closed/out.jsonl.journal", "closed/out.jsonl"])
def test_no_permission(
    locked: str, server: FaultServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is for whoever is not root."""
    Path("closed").mkdir()
    if locked != "closed":
        Path(locked).touch()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != locked and access(path, mode))
    said = refused(server, "closed/out.jsonl", capsys)
    where = f"in {locked}" if locked == "closed" else locked
    assert f"no permission to write {where}; give another output with -o, or mend that" in said


@pytest.mark.parametrize("says_so", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
@pytest.mark.parametrize("which", [".journal", "recipe.json.part", "out.jsonl.part", "rejected.jsonl.part"])
def test_the_system_refuses_whatever_it_said_before(
    says_so: OSError, which: str, server: FaultServer, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Access lists, quotas of a network disk: only the attempt to write tells."""

    def refusing(really: Any) -> Any:
        def opened(path: Any, *args: Any, **more: Any) -> Any:
            writes = {"wb"} & {*args, *more.values()} or (args and args[0] and isinstance(args[0], int))
            if str(path).endswith(which) and writes:
                raise type(says_so)(says_so.errno, says_so.strerror, str(path))
            return really(path, *args, **more)

        return opened

    monkeypatch.setattr("builtins.open", refusing(open))
    monkeypatch.setattr("io.open", refusing(open))
    monkeypatch.setattr("os.open", refusing(os.open))
    said = refused(server, "out.jsonl", capsys)
    assert ("no permission to write" if says_so.errno == 13 else "Read-only file system (") in said
    monkeypatch.undo()
    monkeypatch.chdir(Path("in.jsonl").absolute().parent)


def test_compacting_without_permission(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.jsonl.journal").write_text("{}\n")

    def refuse(path: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("data_gen.journal.compact", refuse)
    assert main(["generate", "--compact", "-o", "out.jsonl"]) == 2
    said = capsys.readouterr().err
    assert "cannot tidy the journal of out.jsonl: no permission to write out.jsonl.journal" in said
