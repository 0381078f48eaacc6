"""A mix is made anew when the code that decides what is in it is another, and only then."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import data_gen
from data_gen import mix_rules, provenance
from data_gen.mixes import build_mix
from tests import mixing
from tests.mixing import recipe, records

in_empty_folder = mixing.in_empty_folder
HERE = Path(data_gen.__file__).parent
BESIDE = {
    *("errors", "outputs", "provenance", "tables"),  # say and write, and choose nothing
    *("inputs", "mix_recipe", "source_yaml"),  # what they read of recipe and registry is in the keys itself
    *("known", "novelty", "places"),  # compare what is generated, which no filter of a mix does
}


def imported(name: str) -> set[str]:
    """The modules of data_gen that one of them imports, anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "data_gen":
            package = (node.module or "").removeprefix("data_gen").removeprefix(".").replace(".", "/")
            names = [f"{package}/{alias.name}".strip("/") for alias in node.names]
            found |= {one if (HERE / f"{one}.py").is_file() else package for one in names}
    return found


def test_every_module_that_decides_what_a_mix_holds_is_known() -> None:
    """Whoever adds one has to say whether it decides: else a mix would outlive a change of it."""
    found, left = set[str](), {"mix_parts"}
    while left:
        found.add(name := left.pop())
        left |= imported(name) - found
    assert found == {*mix_rules.DECIDING} | BESIDE
    assert all((HERE / f"{name}.py").is_file() for name in mix_rules.DECIDING)


def told(monkeypatch: pytest.MonkeyPatch, rules: Any) -> None:
    monkeypatch.setattr(mix_rules, "rules", rules)


def test_other_rules_build_anew_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = recipe({records("a.jsonl", "甲"): "all", "curriculum": 2}, dedup="none")
    build_mix(mix, "out.jsonl")
    before = mix_rules.rules
    told(monkeypatch, lambda generated="": before(generated) + ("of curriculum" if generated else ""))
    manifest = build_mix(mix, "out.jsonl")
    assert [part["reused"] for part in manifest["sources"]] == [True, False]
    told(monkeypatch, lambda generated="": "others")
    manifest = build_mix(mix, "out.jsonl")
    assert [part["reused"] for part in manifest["sources"]] == [False, False]
    assert not build_mix(mix, "out.jsonl")["built"]


def test_another_version_with_the_same_rules_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = recipe({records("a.jsonl", "甲"): "all"})
    build_mix(mix, "out.jsonl")
    monkeypatch.setattr(provenance, "versions", lambda: {"minituo": "99"})
    assert not build_mix(mix, "out.jsonl")["built"]


def test_the_digest_is_of_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed converter, a changed generator; without any text the version has to do."""
    for name in (*mix_rules.DECIDING, "made/words"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(name)
    monkeypatch.setattr(mix_rules, "__file__", str(tmp_path / "mix_rules.py"))
    digest = mix_rules.rules.__wrapped__
    first = [digest(), digest("made")]
    (tmp_path / "made/words.py").write_text("other words")
    assert [digest() == first[0], digest("made") == first[1]] == [True, False]
    (tmp_path / "converters.py").write_text("other converters")
    assert digest() != first[0]
    (tmp_path / "corpora.py").unlink()
    assert digest() == provenance.versions()["minituo"]
