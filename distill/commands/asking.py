"""The options of `distill generate` about what is asked: one strategy, or several with shares."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_gen.errors import DataError, of_yaml
from data_gen.strategies import STRATEGIES, load_class
from teachers.base import nearest

OPTIONS = (
    "instructions", "seeds", "topics", "to", "template", "temperature", "answer_temperature", "instruction_temperature",
    "top_p", "max_tokens", "max_instruction_tokens", "seed", "tasks_per_request", "turns", "rounds", "passes", "judge",
)  # fmt: skip
"""Of the command line; within `strategies` a strategy may be given whatever its class takes"""
MAPPINGS = {
    "strategies": "{self_instruct: {share: 0.7}}",
    "filters": "{length: {max_output: 2000}, media: false}",
}
"""Options that are YAML, with an example each"""
HAS = {
    "strategy": ("name", "settings", "per_request", "total", "requests", "follow_up", "parse"),
    "teacher": ("name", "local", "generate"),
    "teacher of signals": ("tokenizer", "signal"),
}
"""What the job uses of an object of the user's own"""
WHOLE = {
    "tasks_per_request": 1, "turns": 1, "rounds": 1, "passes": 1, "max_tokens": 1, "max_instruction_tokens": 1,
    "seed": 0,
}  # fmt: skip
BETWEEN = {
    "temperature": (0.0, 2.0), "answer_temperature": (0.0, 2.0), "instruction_temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """One group of options, and what several strategies and existing sets are called."""
    add = parser.add_argument_group("what is asked").add_argument
    add("--strategies", metavar="YAML", help="several with shares: '{self_instruct: {share: 0.7}, self_chat: {...}}'")
    add("--instructions", metavar="FILE", help="rows to answer, evolve, chat about, translate, or ask new questions on")
    add("--seeds", metavar="FILE", help="seed tasks (self_instruct, lamini; default: the 72 of the package)")
    add("--topics", metavar="FILE", help="topics (lamini_topic, self_chat; default: the 231 of the package)")
    add("--to", metavar="LANGUAGE", help="of a translation: zh (default), zh-hant, en, ja, ko, fr, de")
    add("--tasks-per-request", type=int, help="asked for at once (self_instruct 5, lamini 20, augment 5)")
    add("--turns", type=int, help="of a conversation (self_chat; default 4)")
    add("--rounds", type=int, help="how often a task is evolved (evolve; default 1)")
    add("--passes", type=int, help="how often the whole file is gone through (evolve, augment; default 1)")
    add(
        "--judge", action=argparse.BooleanOptionalAction, default=None, help="ask whether an evolution changed anything"
    )
    add("--template", help="how a local model is prompted (default qa), or a YAML file of yours")
    add("--temperature", type=float, help="default: answer and translate 0, magpie 0.7, others 1")
    add("--answer-temperature", type=float, help="of the answers (lamini, evolve; default 0)")
    add("--instruction-temperature", type=float, help="of the questions (magpie; default 1)")
    add("--top-p", type=float, help="default 1")
    add("--max-tokens", type=int, help="of one answer; default: answer, magpie 512, evolve, augment 1024, others 2048")
    add("--max-instruction-tokens", type=int, help="of one question (magpie; default 128)")
    add("--seed", type=int, help="default 0; request k depends on the seed and k alone")


def strategy_of(args: argparse.Namespace) -> Any:
    """The one strategy, or the mixture of several."""
    given = {option: value for option in OPTIONS if (value := getattr(args, option, None)) is not None}
    check(given)
    if args.strategies is None:
        if not args.strategy:
            raise DataError(f"--strategy is needed: one of {', '.join(STRATEGIES)}; or --strategies for several")
        return build("strategy", args.strategy, STRATEGIES, given)
    if args.strategy:
        raise DataError("give --strategy or --strategies, not both")
    return _mixture(yaml_mapping(args.strategies, "--strategies", MAPPINGS["strategies"]) or {}, given)


def _mixture(wanted: Mapping[str, Any], given: dict[str, Any]) -> Any:
    """Each member with its own options, and those of the whole run that it takes."""
    from data_gen.strategies.mixture import Mixture

    members, shares, unused = {}, {}, set(given)
    for name, options in wanted.items():
        options = {} if options is None else options
        if not isinstance(options, Mapping) or "/" in str(name):
            raise DataError(f"strategy {name!r} takes options such as '{{share: 0.5, seed: 1}}', found {options!r}")
        own = {str(option).replace("-", "_"): value for option, value in options.items()}
        shares[str(name)] = own.pop("share", 1.0)
        kind = str(own.pop("strategy", name))
        takes = takes_of("strategy", kind, STRATEGIES)
        for option in own:
            if option not in takes:
                raise DataError(f"strategy {name!r} has no option {option!r}{nearest(option, ['share', *takes])}")
        check(own)
        unused -= set(takes)
        members[str(name)] = build(
            "strategy", kind, STRATEGIES, {o: v for o, v in given.items() if o in takes} | own, f"strategy {name!r}"
        )
    for option in sorted(unused):
        raise DataError(f"none of the strategies takes {flag(option)}")
    return Mixture(members, shares)


def takes_of(what: str, name: str, known: Mapping[str, str]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class by its short name or dotted path, and of its bases when it hands `**options` on."""
    if name not in known and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a class of the user's own, beside the data; a datasets.py there hides no library
    takes: dict[str, inspect.Parameter] = {}
    for kind in load_class(name, known, what).__mro__:
        if "__init__" not in vars(kind) or kind is object:
            continue
        own = list(inspect.signature(kind).parameters.values())
        takes = {parameter.name: parameter for parameter in own if parameter.kind != parameter.VAR_KEYWORD} | takes
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in own):
            break
    return takes


def build(what: str, name: str, known: Mapping[str, str], given: dict[str, Any], whose: str = "") -> Any:
    """The object of a short name or dotted path, with the options given; DataError for one it does not take."""
    takes = takes_of(what, name, known)
    whose = whose or f"{what} {name!r}"
    if "path" in takes and "model" not in takes and "model" in given:
        given = {**given, "path": given["model"]}
        del given["model"]
    for option in given:
        if option not in takes:
            raise DataError(f"{whose} takes no {flag(option)}")
    if what == "teacher" and name == "local" and "path" not in given:
        raise DataError("teacher 'local' needs --model, the folder of a Hugging Face model")
    for option, parameter in takes.items():
        positional = parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
        if positional and parameter.default is parameter.empty and option not in given:
            raise DataError(f"{whose} needs {flag(option)}")
    built = load_class(name, known, what)(**given)
    lacks = [attribute for attribute in HAS.get(what, ()) if not hasattr(built, attribute)]
    if lacks:
        raise DataError(f"{name!r} is no {what}: it has no {', no '.join(lacks)}")
    return built


def flag(option: str) -> str:
    """An option as it is written."""
    return "--" + option.removesuffix("_s").replace("_", "-").replace("path", "model")


def check(given: Mapping[str, Any]) -> None:
    """Values that came through a YAML pass no `type=`; and none may be out of range."""
    for name, least in WHOLE.items():
        whole(name, given.get(name), least)
    for name, (low, high) in BETWEEN.items():
        value = given.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
        ):
            raise DataError(f"{flag(name)} must lie between {low:g} and {high:g}, not {value!r}")
    for name in ("instructions", "seeds", "topics", "template", "to"):
        if name in given and not isinstance(given[name], str):
            raise DataError(f"{flag(name)} must be a text, not {given[name]!r}")


def whole(name: str, value: Any, least: int) -> None:
    """DataError unless it is missing or a whole number from `least` on."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise DataError(f"{flag(name)} must be a whole number from {least} on, not {value!r}")


def yaml_mapping(given: Any, option: str, example: str) -> dict[str, Any] | None:
    """An option that is a mapping: from the command line it is YAML text, from --config it is one already."""
    if isinstance(given, str):
        import yaml

        try:
            given = yaml.safe_load(given)
        except yaml.YAMLError as error:
            raise DataError(f"{option} is not valid YAML, {of_yaml(error)}") from None
    if given is not None and not isinstance(given, dict):
        raise DataError(f"{option} must look like '{example}'")
    return given


def keep_inputs(args: argparse.Namespace) -> None:
    """DataError when the output, or a file beside it, would take the place of one that is read."""
    from data_gen.output import Output

    given = {name: value for name, value in vars(args).items() if name != "output"}
    given |= {name: yaml_mapping(given[name], f"--{name}", example) for name, example in MAPPINGS.items()}
    places = [path for path in Output(Path(args.output), None).files() if os.path.exists(path)]
    for read in _files_in(given):
        if any(os.path.samefile(path, read) for path in places):
            raise DataError(f"{read} is read, and -o {args.output} would write over it; give another output")


def _files_in(value: Any) -> Iterator[str]:
    """Files that options name, however deep."""
    if isinstance(value, str) and os.path.isfile(value):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _files_in(each)
