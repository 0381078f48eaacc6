"""Every option of every verb that takes a recipe, by the name it has on the command line: dashes or underscores."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from data_gen.records import DataError
from distill.commands import capture, generate, sample
from distill.commands.arguments import Arguments

VERBS = {"generate": generate._parser, "sample": sample._parser, "capture": capture._parser}
OPTIONS = [
    (verb, option.removeprefix("--"))
    for verb, parser in VERBS.items()
    for action in parser()._actions
    for option in (action.option_strings or [action.dest])
    if option not in {"-h", "--help", "-o", "--config"}
]


def test_these_are_the_verbs() -> None:
    """Whoever makes another one that takes a recipe puts it here."""
    files = Path(capture.__file__).parents[1].rglob("*.py")
    taking = {
        file.stem for file in files if "Arguments(" in (said := file.read_text("utf-8")) and "config=True" in said
    }
    assert taking == VERBS.keys()
    assert {verb for verb, _ in OPTIONS} == VERBS.keys()
    assert len(OPTIONS) > 70


def value_of(action: argparse.Action) -> Any:
    """One that is not the default."""
    if isinstance(action, argparse.BooleanOptionalAction) or action.nargs == 0:
        return True
    if action.choices:
        return [each for each in action.choices if each != action.default][-1]
    value: Any = {int: 7, float: 0.25}.get(action.type, "that")  # type: ignore[call-overload]
    return [value] if action.nargs in {"+", "*"} else value


@pytest.mark.parametrize(("verb", "option"), OPTIONS)
def test_a_recipe_names_options_as_the_command_line_does(verb: str, option: str, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("{}")
    for name in {option, option.replace("-", "_")}:
        parser: Arguments = VERBS[verb]()
        action = next(a for a in parser._actions if f"--{option}" in a.option_strings or option == a.dest)
        value = value_of(action)
        (tmp_path / "recipe.yaml").write_text(f"{name}: {json.dumps(value)}\n", encoding="utf-8")
        got = vars(parser.parse(["--config", str(tmp_path / "recipe.yaml")]))
        wanted = [value] if type(action).__name__ == "_AppendAction" else value
        assert got[action.dest] == (not value if option.startswith("no-") else wanted)
        others = vars(VERBS[verb]().parse(["--config", str(tmp_path / "empty.yaml")]))
        assert {k for k in got if got[k] != others[k]} == {action.dest, "config"}


def parse(text: str, tmp_path: Path, *argv: str) -> Any:
    (tmp_path / "recipe.yaml").write_text(text)
    return generate._parser().parse(["--config", str(tmp_path / "recipe.yaml"), *argv])


def test_the_command_line_wins(tmp_path: Path) -> None:
    assert parse("timeout: 5\npoll: 3\n", tmp_path, "--timeout", "7").timeout_s == 7
    assert parse("timeout_s: 5\npoll: 3\n", tmp_path).poll_s == 3, "as recipes of before have it"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timeuot: 5", "unknown key 'timeuot' (did you mean 'timeout'?)"),
        ("timeout: 5\ntimeout-s: 6", "'timeout' and 'timeout-s' are one option; leave one out"),
        ("config: other.yaml", "unknown key 'config'"),
        ("help: true", "unknown key 'help'"),
        ("5: 6", "unknown key 5"),
    ],
)
def test_what_is_no_option(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        parse(text, tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("verb", "text", "says"),
    [
        ("capture", "method: tpok", "method must be one of sampled, topk, not 'tpok' (did you mean 'topk'?)"),
        ("capture", "temperature: [1]", "temperature must be a number, not [1]"),
        ("capture", "limit: 2.5", "limit must be a whole number, not 2.5"),
        ("capture", "max-length: true", "max-length must be a whole number, not True"),
        ("sample", "engine: 5", "engine must be one of local, ray, not 5"),
        ("sample", "weights: [0.5, x]", "weights must be a list, each a number"),
        ("sample", "where: [star>3, 5]", "where must be a list, each a text"),
        ("sample", "force: maybe", "force must be true or false, not 'maybe'"),
        ("generate", "judge: sometimes", "judge must be true or false"),
        ("generate", "api-key-env: 5", "api-key-env must be a text"),
        ("generate", "to: no", "to must be a text, in quotes where it looks like a number or a yes, not False"),
    ],
)
def test_values_that_no_option_takes(verb: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        VERBS[verb]().parse(["--config", str(tmp_path / "recipe.yaml")])
    assert f"{tmp_path / 'recipe.yaml'}: {says}" in str(caught.value)


def test_values_that_fit(tmp_path: Path) -> None:
    text = "filters: {novelty: false}\nparameters:\nbudget: 2\nseeds: tasks.jsonl\nagainst: eval.jsonl\nrows: '5'\n"
    got = parse(text, tmp_path)
    assert (got.filters, got.parameters, got.budget, got.against) == ({"novelty": False}, None, 2, ["eval.jsonl"])
    assert got.rows == 5
    (tmp_path / "empty.yaml").write_text("temperature:\n")
    assert capture._parser().parse(["--config", str(tmp_path / "empty.yaml")]).temperature == 1.0
