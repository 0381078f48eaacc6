"""`distill generate`: ask a teacher for instructions and answers (also installed as `generate-instructions`).

Options are handed on by name to the strategy's and the teacher's class, whatever these take; an option that neither
takes is refused, so nothing is silently ignored.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any

from data_gen.records import DataError
from data_gen.strategies import STRATEGIES, load_class
from distill.commands import spending
from distill.commands.arguments import Arguments

TEACHERS: dict[str, str] = {
    "chatgpt": "teachers.chatgpt:ChatGPTTeacher",
    "chatgpt-batch": "teachers.batches:BatchTeacher",
    "embedded": "teachers.panda:PandaTeacher",
    "local": "teachers.panda:PandaTeacher",
    "scripted": "teachers.scripted:ScriptedTeacher",
}

EXAMPLES = """\
examples:
  distill generate --strategy answer --teacher chatgpt --model gpt-4o-mini --instructions in.jsonl -o out.jsonl
  distill generate --strategy self_instruct --teacher chatgpt --model gpt-4o-mini --rows 1000 -o new.jsonl
  distill generate --strategy answer --teacher chatgpt --base-url http://127.0.0.1:8111/v1 --model /abs/model \\
      --instructions in.jsonl -o out.jsonl
  distill generate --strategy magpie --teacher embedded --rows 100 -o magpie.jsonl

The same command again goes on where it stopped. The API key is read from OPENAI_API_KEY, never from the command line.
"""

STRATEGY_OPTIONS = (
    "instructions", "seeds", "template", "temperature", "top_p", "max_tokens", "seed", "tasks_per_request",
)  # fmt: skip
TEACHER_OPTIONS = (
    "model", "base_url", "api_key_env", "concurrency", "timeout_s", "max_attempts", "requests_per_minute",
    "path", "device", "dtype", "batch_size", *spending.ENDPOINT_OPTIONS,
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the job; 0 when complete, 1 when some rows failed for good."""
    args = _parser().parse(argv)
    if args.compact and args.output:
        print(spending.compact_journal(args.output))
        return 0
    for name in ("strategy", "teacher", "output"):
        if not getattr(args, name):
            raise DataError(f"--{name} is needed{_of(name)}")
    _check_numbers(args)
    spending.check(args)
    args.teacher = spending.teacher_name(args)
    strategy = _build(args, "strategy", STRATEGIES, STRATEGY_OPTIONS)
    teacher = _build(args, "teacher", TEACHERS, TEACHER_OPTIONS)

    budget = spending.budget_of(args, teacher)
    spending.prepare_batches(args, teacher)

    from data_gen.job import run

    # A local model's name is its folder's; the whole path tells two checkpoint-100 apart.
    folder = {"model": os.path.abspath(args.model)} if args.model and os.path.isdir(args.model) else {}
    filters = _mapping(args.filters)
    report = run(
        strategy,
        teacher,
        args.output,
        args.rows,
        filters,
        force=bool(args.force),
        made_with=folder,
        budget=budget,
        on_length=args.on_length or "drop",
        tell=lambda said: print(said, file=sys.stderr, flush=True),
    )
    print(summary(args.output, report, args.rows))
    return 0 if report.complete else 1


def summary(output: str, report: Any, rows: int | None) -> str:
    """What came out, in a few lines."""
    if not report.ran:
        return f"{output} is complete: {report.accepted} rows; give another -o, or --force to start again"
    lines = [f"{output}: {report.accepted} rows"]
    if rows is not None and report.accepted < rows and report.exhausted:
        lines[0] += f" of {rows} (there is nothing more to ask)"
    if report.rejected:
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.rejected.items())
        lines.append(f"rejected: {reasons}")
    reused = f" ({report.reused} from the journal)" if report.reused else ""
    lines.append(
        f"answers: {report.requests}{reused}; tokens: {report.prompt_tokens:,} in, {report.completion_tokens:,} out"
    )
    if report.cost:
        lines[-1] += f"; in all runs: {report.cost}"
    if report.stopped:
        lines.append(report.stopped)
    if report.failed:
        lines.append(
            f"failed: {report.failed}, the last one with: {report.last_failure}; the same command asks for them again"
        )
    return "\n".join(lines)


def _parser() -> Arguments:
    parser = Arguments("generate", "Ask a teacher for instructions and answers.", config=True, epilog=EXAMPLES)
    add = parser.add_argument
    add("--strategy", help=f"how to ask: {', '.join(STRATEGIES)}, or package.module:Class")
    add("--teacher", help=f"whom to ask: {', '.join(TEACHERS)}, or package.module:Class")
    add("-o", "--output", metavar="JSONL", help="the rows; journal, rejected rows and recipe stand beside it")
    add("--rows", type=int, help="how many accepted rows (default: as many as there are instructions)")
    add("--force", action="store_true", help="start again, even over an output of another recipe")
    add("--filters", metavar="YAML", help="thresholds, such as '{length: {max_output: 2000}, media: false}'")

    add("--compact", action="store_true", help="only tidy the journal of -o: one row a request, no damaged lines")

    what = parser.add_argument_group("what is asked")
    add = what.add_argument
    add("--instructions", metavar="FILE", help="JSONL or JSON rows in Alpaca's form (strategy answer)")
    add("--seeds", metavar="FILE", help="seed tasks (strategy self_instruct; default: the 72 of the package)")
    add("--tasks-per-request", type=int, help="new tasks a request asks for (strategy self_instruct; default 5)")
    add("--template", help="how a local model is prompted (default qa)")
    add("--temperature", type=float, help="default: answer 0, self_instruct 1, magpie 0.7")
    add("--top-p", type=float, help="default 1")
    add("--max-tokens", type=int, help="of one answer; default: self_instruct 2048, others 512")
    add("--seed", type=int, help="default 0; request k depends on the seed and k alone")

    whom = parser.add_argument_group("who is asked")
    add = whom.add_argument
    add("--model", metavar="NAME_OR_PATH", help="the endpoint's model, or a local folder")
    add("--base-url", metavar="URL", help="an OpenAI-compatible endpoint (default: OpenAI's own)")
    add("--api-key-env", metavar="NAME", help="variables that hold the keys, A,B,... (default OPENAI_API_KEY)")
    add("--concurrency", type=int, help="requests in flight (default 16)")
    add("--requests-per-minute", type=float, help="of each key; never more than this")
    add("--timeout", type=float, dest="timeout_s", metavar="SECONDS", help="of one answer (default 60)")
    add("--max-attempts", type=int, help="how often one request is tried, rate limits not counted (default 6)")
    add("--device", help="local teachers: auto, cpu, cuda")
    add("--dtype", help="local teachers: auto, fp32, fp16, bf16")
    add("--batch-size", type=int, help="local teachers: prompts generated together")
    spending.add_options(parser)
    return parser


def _build(args: argparse.Namespace, what: str, known: Mapping[str, str], options: tuple[str, ...]) -> Any:
    """The object of a short name or dotted path, with the options given; DataError for one it does not take."""
    name = getattr(args, what)
    if name not in known and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a class of the user's own, beside the data
    cls = load_class(name, known, what)
    takes = inspect.signature(cls).parameters
    given = {option: value for option in options if (value := getattr(args, option, None)) is not None}
    if "path" in takes and "model" not in takes and "model" in given:
        given["path"] = given.pop("model")
    for option in given:
        if option not in takes:
            raise DataError(f"{what} {name!r} takes no {_flag(option)}")
    if what == "teacher" and name == "local" and "path" not in given:
        raise DataError("teacher 'local' needs --model, the folder of a Hugging Face model")
    for option, parameter in takes.items():
        positional = parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
        if positional and parameter.default is parameter.empty and option not in given:
            raise DataError(f"{what} {name!r} needs {_flag(option)}")
    return cls(**given)


def _flag(option: str) -> str:
    return "--" + option.removesuffix("_s").replace("_", "-").replace("path", "model")


def _of(name: str) -> str:
    choices = {"strategy": STRATEGIES, "teacher": TEACHERS}.get(name)
    return f": one of {', '.join(choices)}" if choices else ", such as -o out.jsonl"


def _check_numbers(args: argparse.Namespace) -> None:
    """Values that came through --config pass no `type=`; and none may be out of range."""
    for name, least in (
        ("rows", 1), ("tasks_per_request", 1), ("max_tokens", 1), ("concurrency", 1), ("max_attempts", 1),
        ("batch_size", 1), ("seed", 0),
    ):  # fmt: skip
        value = getattr(args, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise DataError(f"{_flag(name)} must be a whole number from {least} on, not {value!r}")
    for name, low, high in (("temperature", 0.0, 2.0), ("top_p", 0.0, 1.0)):
        value = getattr(args, name)
        if value is not None and (not isinstance(value, int | float) or not low <= value <= high):
            raise DataError(f"{_flag(name)} must lie between {low:g} and {high:g}, not {value!r}")


def _mapping(filters: Any) -> dict[str, Any] | None:
    """`--filters` as a mapping: from the command line it is YAML text, from --config it is one already."""
    if isinstance(filters, str):
        import yaml

        try:
            filters = yaml.safe_load(filters)
        except yaml.YAMLError as error:
            raise DataError(f"--filters is not valid YAML: {error}") from None
    if filters is not None and not isinstance(filters, dict):
        raise DataError("--filters must look like '{length: {max_output: 2000}, media: false}'")
    return filters
