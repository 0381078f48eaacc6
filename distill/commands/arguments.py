"""Arguments as every verb but `fit` takes them: argparse, a YAML of the same names, and errors of one sentence."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from data_gen.errors import no_file, of_yaml
from data_gen.records import DataError
from teachers.base import nearest


class Arguments(argparse.ArgumentParser):
    """`Arguments("generate", "what it does")`; a `--config file.yaml` gives defaults for the options it names."""

    def __init__(self, verb: str, description: str, *, config: bool = False, **more: Any) -> None:
        super().__init__(
            prog=f"distill {verb}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,
        )
        if config:
            self.add_argument("--config", metavar="YAML", help="options from a file; the command line wins")

    def error(self, message: str) -> NoReturn:
        """One sentence with the nearest option, exit code 2."""
        unknown = re.match(r"unrecognized arguments: (--?[\w-]+)", message)
        hint = nearest(unknown.group(1), self._option_string_actions) if unknown else ""
        print(f"{self.prog}: {message}{hint}", file=sys.stderr)
        raise SystemExit(2)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse; keys of `--config` become defaults. DataError for an unknown key or an unreadable file."""
        if "--config" in self._option_string_actions:
            first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
            first.add_argument("--config")
            config = first.parse_known_args(list(argv))[0].config
            if config:
                self._set_defaults_from(Path(config))
        return self.parse_args(list(argv))

    def _set_defaults_from(self, path: Path) -> None:
        values, names, said = load_yaml(path), self._names(), dict[str, str]()
        for key, value in values.items():
            name = str(key).replace("-", "_")
            if name not in names:
                raise DataError(f"{path}: unknown key {key!r}{nearest(name, names)}")
            action = names[name]
            if other := said.get(action.dest):
                raise DataError(f"{path}: {other!r} and {key!r} are one option; leave one out")
            said[action.dest] = str(key)
            if value is None:  # nothing stands there: as if it were not said
                continue
            if wanted := _misfit(action, value):
                raise DataError(f"{path}: {key} must be {wanted}, not {value!r}{_near(value, action)}")
            if isinstance(action, argparse.BooleanOptionalAction) and name.startswith("no_"):
                value = not value
            if _is_several(action) and not isinstance(value, list) and (not action.type or not isinstance(value, str)):
                value = [value]  # a list of one, not of its letters
            action.required = False
            self.set_defaults(**{action.dest: value})

    def _names(self) -> dict[str, argparse.Action]:
        """What a recipe may call each option: as on the command line, or as it is called in here."""
        names: dict[str, argparse.Action] = {}
        for action in self._actions:
            if action.dest not in {"help", "config"}:
                called = [option[2:] for option in action.option_strings if option.startswith("--")]
                names |= {name.replace("-", "_"): action for name in (*called, action.dest)}
        return names


def _misfit(action: argparse.Action, value: Any) -> str:
    """What the option takes instead of this value; "" when it may be right. argparse reads texts, and nothing else."""
    if _is_several(action) and isinstance(value, list):
        wrong = (wanted for each in value if (wanted := _misfit_of_one(action, each, read=False)))
        return next((f"a list, each {wanted}" for wanted in wrong), "")
    return _misfit_of_one(action, value)


def _is_several(action: argparse.Action) -> bool:
    return action.nargs in {"+", "*"} or type(action).__name__ == "_AppendAction"


def _misfit_of_one(action: argparse.Action, value: Any, read: bool = True) -> str:
    """The same of one value; texts in a list are not `read` as numbers."""
    yes_or_no = isinstance(value, bool)
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return "" if yes_or_no else "true or false"
    if action.choices is not None:
        return "" if value in list(action.choices) else f"one of {', '.join(map(str, action.choices))}"
    if action.type in {int, float} and not (read and isinstance(value, str)):
        fits = not yes_or_no and isinstance(value, int if action.type is int else int | float)
        return "" if fits else "a whole number" if action.type is int else "a number"
    if action.type is None and isinstance(value, int | float):
        return "a text, in quotes where it looks like a number or a yes"
    return ""


def _near(value: Any, action: argparse.Action) -> str:
    close = nearest(value, map(str, action.choices)) if isinstance(value, str) and action.choices else ""
    return close if "did you mean" in close else ""


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; DataError names the file and what is wrong."""
    import yaml

    if not path.is_file():
        raise DataError(no_file(path))
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML, {of_yaml(error)}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold 'key: value' lines, found {type(values).__name__}")
    return values
