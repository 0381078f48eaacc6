"""The one door: `distill VERB`, its help, its exit codes, its manners."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from distill import cli
from distill.cli import VERBS, main
from distill.errors import DistillError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["help"]])
def test_help_lists_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    for verb, (_, text) in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(text)}$", out, re.MULTILINE)


def test_examples_of_help_name_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Verbs, recipes and sources in the examples exist."""
    from data_gen.registry import load_registry
    from distill.commands.recipes import find_recipes

    main(["--help"])
    examples = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  distill ")]
    assert examples
    for words in examples:
        assert words[1] in VERBS
        if words[1] == "sample":
            assert words[2] in load_registry()
        if words[1:3] == ["recipes", "cp"]:
            assert words[3] in find_recipes()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"minituo {project['version']}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there(verb: str) -> None:
    module, function = VERBS[verb][0].split(":")
    handler = getattr(import_module(module), function)
    assert list(inspect.signature(handler).parameters) == ["argv"]


@pytest.mark.parametrize("verb", [verb for verb, (path, _) in VERBS.items() if path != "distill.fit:main"])
def test_every_option_is_described(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([verb, "--help"])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 0
    assert f"distill {verb}" in capsys.readouterr().out


def test_console_scripts_are_these_functions() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert set(scripts) == {"distill", "generate-instructions", "sample-dataset"}
    for path in scripts.values():
        module, function = path.split(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(("script", "verb"), [("generate_instructions", "generate"), ("sample_dataset", "sample")])
def test_the_other_scripts_are_verbs(
    script: str, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--rowz", "3"])
    with pytest.raises(SystemExit) as stop:
        getattr(cli, script)()
    assert stop.value.code == 2
    assert f"distill {verb}: unrecognized arguments: --rowz" in capsys.readouterr().err


def test_errors_for_the_user_are_sentences_and_bugs_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Handler:
        error: BaseException

        def __call__(self, argv: list[str]) -> int:
            raise self.error

    handler = Handler()
    monkeypatch.setattr("distill.report.main", handler)
    for error, code, said in (
        (DistillError("one\n  sentence"), 2, "distill: one sentence\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.jsonl"),
            2,
            "distill: No such file or directory: x.jsonl\n",
        ),
        (OSError(28, "No space left on device", "y"), 2, "no space left on the disk while writing y"),
        (OSError(27, "File too large", "z"), 2, "no space left on the disk while writing z"),
        (KeyboardInterrupt(), 130, "the same 'distill report' command begins again"),
    ):
        handler.error = error
        assert main(["report"]) == code
        assert said in capsys.readouterr().err
    handler.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["report"])


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (ValueError, 0)])
def test_ctrl_c_in_a_destructor_is_not_lost(
    error: type[BaseException], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python tells of an exception there and goes on."""

    class Trained:
        def __del__(self) -> None:
            raise error

    def verb(argv: list[str]) -> int:
        Trained()
        until = time.monotonic() + (5 if error is KeyboardInterrupt else 0)
        while time.monotonic() < until:
            pass
        return 0

    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    monkeypatch.setattr("distill.chat.main", verb)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    try:
        assert main(["chat"]) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert [lost.exc_type for lost in told] == ([] if code else [ValueError])
    assert sys.unraisablehook == told.append


@pytest.mark.parametrize("command", ["--help", "datasets show coig", "recipes show demo_kd"])
def test_a_closed_pipe_is_no_traceback(command: str) -> None:
    """`distill --help | head -1`"""
    done = subprocess.run(
        f"{sys.executable} -m distill {command} | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in {0, 1}
    assert done.stderr == ""


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 2), ("<&- >&- 2>&-", 0)])
def test_a_closed_stream_is_no_traceback(closed: str, code: int) -> None:
    command = "nonsense" if code else "--version"
    done = subprocess.run(
        f"{sys.executable} -m distill {command} {closed}", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (code, "")


def test_any_locale_speaks_chinese(tmp_path: Path) -> None:
    """A terminal that says it is ASCII is given UTF-8; bytes of another encoding are told, not answered."""
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "q.jsonl").write_text('{"问": "你好"}\n', encoding="utf-8")
    asked = [sys.executable, "-m", "distill", "sample", "q.jsonl", "--convert", "-o", "out.jsonl"]
    done = subprocess.run(asked, capture_output=True, env=env, cwd=tmp_path, check=False)
    assert (done.returncode, "问" in done.stderr.decode()) == (2, True)
    chat = [sys.executable, "-m", "distill", "chat", "embedded", "--max-tokens", "1"]
    done = subprocess.run(chat, input="你好\n".encode("gbk"), capture_output=True, env=env, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith("distill: a question is no UTF-8; for text in GBK: iconv")


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "distill", "chta"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "distill: unknown verb 'chta'; did you mean 'chat'?\n"
