"""README.md cannot rot: its commands are run, in order, in one folder; its tree is the tree; its links lead somewhere.

A block that needs a network, a key or many minutes is marked in the page itself, on the line above it:
`<!-- not run: why -->`. README_zh.md holds the very same commands.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distill.cli import VERBS
from tests.test_architecture import ARROWS, ROOT

PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_zh.md")}
BLOCK = re.compile(r"^(?:<!-- not run: ([^\n]+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHIM = '#!/bin/sh\nexec "{python}" {module} "$@"\n'


def blocks(page: str, language: str) -> list[tuple[str, str]]:
    """(why it is not run, text) of a page's blocks in a language."""
    return [(why, text) for why, kind, text in BLOCK.findall(PAGES[page]) if kind == language]


COMMANDS = [text for why, text in blocks("README.md", "bash") if not why]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run; `distill` and `python` are this interpreter's."""
    place = tmp_path_factory.mktemp("readme")
    (place / "bin").mkdir()
    for name, module in (("distill", "-m distill"), ("python", "")):
        shim = place / "bin" / name
        shim.write_text(SHIM.format(python=sys.executable, module=module))
        shim.chmod(0o755)
    (place / "work").mkdir()
    return place


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_commands_run(number: int, folder: Path) -> None:
    """One block after the other; a later one uses what an earlier one made."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", COMMANDS[number]],
        cwd=folder / "work",
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr


def test_most_commands_are_run_and_the_others_say_why() -> None:
    verbs = re.findall(r"^(?:.*\| )?distill (\w+)", "\n".join(COMMANDS), re.MULTILINE)
    assert len(verbs) >= 18
    assert set(verbs) >= set(VERBS) - {"demo", "validate", "test", "predict"}
    skipped = [why for why, _ in blocks("README.md", "bash") if why]
    assert len(skipped) <= 2
    assert all(len(why) > 20 for why in skipped)
    assert PAGES["README.md"].count("<!-- not run:") == len(skipped), "a mark stands on the line above its block"


def test_skipped_commands_name_what_there_is() -> None:
    """What is not run has at least known verbs and options."""
    for why, text in blocks("README.md", "bash"):
        if not why:
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].split()
            if words[:1] == ["make"]:
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            elif words[:1] == ["distill"]:
                help_text = subprocess.run(
                    [sys.executable, "-m", "distill", words[1], "--help"], cwd=ROOT, capture_output=True, text=True
                ).stdout
                assert all(word in help_text for word in words if word.startswith("-")), line


def test_the_pages_say_the_same() -> None:
    assert blocks("README.md", "bash") == blocks("README_zh.md", "bash")
    headings = [re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE) for text in PAGES.values()]
    assert headings[0] == headings[1]
    links = [[link for link in re.findall(r"\]\(([^)]+)\)", text) if "README" not in link] for text in PAGES.values()]
    assert sorted(links[0]) == sorted(links[1])
    paths = [[path for path, _ in tree(page)] for page in PAGES]
    assert paths[0] == paths[1]
    bullets = [len(re.findall(r"^- ", text, re.MULTILINE)) for text in PAGES.values()]
    assert bullets[0] == bullets[1]


def tree(page: str) -> list[tuple[str, str]]:
    """(path, what it is) of every line of the tree."""
    ((_, text),) = blocks(page, "text")
    found, parent = [], ""
    for line in text.splitlines():
        name, what = line.strip().split(maxsplit=1)
        if not line.startswith(" "):
            parent = name
        found.append((parent + name if line.startswith(" ") else name, what))
    return found


def test_the_tree_is_the_tree() -> None:
    """Every file and folder of the packages has its line, and every line its file."""
    named = [path for path, _ in tree("README.md")]
    assert len(named) == len(set(named))
    for path in named:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    for package in ARROWS:
        for entry in (ROOT / package).iterdir():
            name = f"{package}/{entry.name}" + "/" * entry.is_dir()
            if not entry.name.startswith("_"):
                assert name in named, f"{name} has no line in README.md"


@pytest.mark.parametrize("page", [*PAGES, "docs/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in index, path.name


def test_every_verb_has_its_row() -> None:
    for page, text in PAGES.items():
        for verb in VERBS:
            assert re.search(rf"^\|[^|]*`{verb}`[^|]*\|", text, re.MULTILINE), (page, verb)
