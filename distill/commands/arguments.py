"""Arguments as every verb but `fit` takes them: argparse, a YAML of the same names, and errors of one sentence."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from data_gen.errors import no_file
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
        values = load_yaml(path)
        actions = {action.dest: action for action in self._actions}
        for key, value in values.items():
            name = key.replace("-", "_")
            if name not in actions:
                raise DataError(f"{path}: unknown key {key!r}{nearest(name, actions)}")
            actions[name].required = False
            self.set_defaults(**{name: value})


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; DataError names the file and what is wrong."""
    import yaml

    if not path.is_file():
        raise DataError(no_file(path))
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{path}, line {line} is not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold 'key: value' lines, found {type(values).__name__}")
    return values
