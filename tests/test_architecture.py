"""The shape of the project: who imports whom, what stays light, how long a file may be.

teachers      students         know nobody (and never each other)
    ▲   ▲        ▲
data_gen │       │             knows teachers.base only; never imports torch
    ▲    │       │
    └── distill ─┘             knows all three; nobody knows distill
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARROWS: dict[str, set[str]] = {
    "teachers": set(),
    "students": set(),
    "data_gen": {"teachers.base"},
    "distill": {"teachers", "students", "data_gen"},
}
NEVER = {"data_gen": {"torch", "transformers", "tokenizers", "safetensors", "pytorch_lightning"}}
HEAVY = {"torch", "transformers", "pandas", "datasets", "openai", "pytorch_lightning", "pyarrow", "rich"}
LONGEST = 300
UNDONE = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError|coming soon|not implemented)\b")

FILES = sorted(path for package in ARROWS for path in (ROOT / package).rglob("*.py"))
MODULES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
each_file = pytest.mark.parametrize("name", MODULES)


def imports(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a module imports, inside functions too, and of its lazy "module:name" texts."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            lazy = re.fullmatch(rf"((?:{'|'.join(ARROWS)})(?:\.\w+)+)[:.](\w+)", node.value)
            if lazy:
                yield node.lineno, f"{lazy[1]}.{lazy[2]}"


def is_in(dotted: str, place: str) -> bool:
    """Whether a dotted name is a module or anything inside of it."""
    return dotted == place or dotted.startswith(place + ".")


def undrawn(name: str, tree: ast.Module) -> list[str]:
    """Imports of a module that no arrow allows."""
    mine = name.split("/")[0]
    return [
        f"{name}:{line} imports {dotted}"
        for line, dotted in imports(name, tree)
        if (top := dotted.split(".")[0]) in NEVER.get(mine, set())
        or (top in {*ARROWS, "tests"} - {mine} and not any(is_in(dotted, place) for place in ARROWS[mine]))
    ]


@each_file
def test_only_the_arrows_that_are_drawn(name: str) -> None:
    assert not undrawn(name, MODULES[name])


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("teachers/x.py", "import students", True),
        ("teachers/x.py", "def f():\n    from distill import losses", True),
        ("teachers/x.py", "from .base import nearest", False),
        ("students/x.py", "from teachers.base import nearest", True),
        ("data_gen/x.py", "from teachers.base import nearest", False),
        ("data_gen/x.py", "from teachers import base", False),
        ("data_gen/x.py", "from teachers import panda", True),
        ("data_gen/a/x.py", "from ...teachers import panda", True),
        ("data_gen/x.py", "T = 'teachers.panda:PandaTeacher'", True),
        ("data_gen/x.py", "import torch.nn", True),
        ("distill/x.py", "import torch, students.build", False),
        ("distill/x.py", "from tests import tiny", True),
    ],
)
def test_the_walk_itself(name: str, text: str, wrong: bool) -> None:
    assert bool(undrawn(name, ast.parse(text))) is wrong


@each_file
def test_files_are_short_and_finished(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST, f"{name} has {len(lines)} lines: split it by subject"
    undone = [f"{name}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if UNDONE.search(line)]
    assert not undone


@each_file
def test_everything_public_is_described(name: str) -> None:
    tree = MODULES[name]
    assert ast.get_docstring(tree) or not tree.body, f"{name} has no docstring"
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    bare = [f"{name}:{node.lineno} {node.name}" for node in public if not ast.get_docstring(node)]
    assert not bare


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter in the repository."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_data_gen_needs_neither_torch_nor_transformers() -> None:
    """Every module of data_gen imports, and the curriculum draws, where neither can be found."""
    code = f"""
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NEVER["data_gen"]!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
import data_gen
names = [found.name for found in pkgutil.walk_packages(data_gen.__path__, "data_gen.")]
for name in names:
    importlib.import_module(name)
from data_gen.registry import open_source
print(len(names), next(iter(open_source("curriculum"))).instruction != "")
"""
    count, drew = run_python(code).split()
    assert int(count) >= 20
    assert drew == "True"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import json, sys; from distill.cli import main; code = main(['--help']);"
        f"print(json.dumps([code, sorted({HEAVY!r} & sys.modules.keys())]))"
    )
    assert json.loads(run_python(code).splitlines()[-1]) == [0, []]


def test_help_of_the_light_verbs_loads_no_torch() -> None:
    """Every verb but those of LightningCLI tells its options without the frameworks."""
    code = """
import contextlib, io, json, sys
from distill.cli import VERBS, main
loaded = {}
for verb, (path, _) in VERBS.items():
    if path == "distill.fit:main":
        continue
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([verb, "--help"])
    assert "distill " + verb in out.getvalue(), verb
    for name in {"torch", "transformers", "pandas", "datasets", "openai"} & sys.modules.keys():
        loaded.setdefault(name, verb)
print(json.dumps(loaded))
"""
    assert json.loads(run_python(code)) == {}


def cpu_seconds(*argv: str) -> float:
    """User and system time of a child."""
    process = subprocess.Popen([sys.executable, *argv], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_help_is_quick() -> None:
    """0.3 s of processor time; the best of a few, so that a busy machine does not count."""
    assert min(cpu_seconds("-m", "distill", "--help") for _ in range(5)) <= 0.3
