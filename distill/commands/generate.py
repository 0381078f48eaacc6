"""`distill generate`: ask a teacher for instructions and answers (also installed as `generate-instructions`).

Options are handed on by name to the strategy's and the teacher's class, whatever these take; an option that neither
takes is refused, so nothing is silently ignored.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from data_gen.records import DataError
from data_gen.strategies import STRATEGIES
from distill.commands import asking, spending
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
  distill generate --strategy translate --instructions alpaca.json --teacher chatgpt --model gpt-4o-mini -o zh.jsonl
  distill generate --config generate_mixture.yaml --against eval.jsonl -o mixed.jsonl

The same command again goes on where it stopped. The API key is read from OPENAI_API_KEY, never from the command line.
"""

TEACHER_OPTIONS = (
    "model", "base_url", "api_key_env", "concurrency", "timeout_s", "max_attempts", "requests_per_minute",
    "path", "device", "dtype", "batch_size", *spending.ENDPOINT_OPTIONS,
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the job; 0 when complete, 1 when rows are missing."""
    args = _parser().parse(argv)
    if args.compact and args.output:
        print(spending.compact_journal(args.output))
        return 0
    if not args.output:
        raise DataError("--output is needed, such as -o out.jsonl")
    if args.reparse and args.force:
        raise DataError("--reparse reads the journal that --force puts aside; leave out one of them")
    asking.keep_inputs(args)
    if not args.teacher:
        raise DataError(f"--teacher is needed: one of {', '.join(TEACHERS)}")
    for name in ("rows", "concurrency", "max_attempts", "batch_size"):
        asking.whole(name, getattr(args, name), 1)
    spending.check(args)
    spending.warn_of_keys(args, argv)
    args.teacher = spending.teacher_name(args)
    if args.device and args.teacher in TEACHERS:  # before anything is made of the output
        from teachers.loading import device_here

        device_here(args.device)
    strategy = asking.strategy_of(args)
    if args.reparse:
        _needs_no_key(args)
    given = {option: value for option in TEACHER_OPTIONS if (value := getattr(args, option, None)) is not None}
    teacher = asking.build("teacher", args.teacher, TEACHERS, given)

    budget = spending.budget_of(args, teacher)
    spending.prepare_batches(args, teacher)

    from data_gen.job import run

    # A local model's name is its folder's; the whole path tells two checkpoint-100 apart.
    folder = {"model": os.path.abspath(args.model)} if args.model and os.path.isdir(args.model) else {}
    report = run(
        strategy,
        teacher,
        args.output,
        args.rows,
        _filters(args),
        force=bool(args.force),
        made_with=folder,
        reparse=bool(args.reparse),
        budget=budget,
        on_length=args.on_length or "drop",
        tell=lambda said: print(said, file=sys.stderr, flush=True),
    )
    print(summary(args.output, report, args.rows))
    return 0 if report.complete or (args.reparse and not report.failed) else 1


def summary(output: str, report: Any, rows: int | None) -> str:
    """What came out, in a few lines."""
    from data_gen.output import reasons

    if not report.ran:
        return f"{output} is complete: {report.accepted} rows; give another -o, or --force to start again"
    lines = [f"{output}: {report.accepted} rows"]
    if rows is not None and report.accepted < rows and report.exhausted and not report.stopped:
        lines[0] += f" of {rows} (there is nothing more to ask)"
    if len(report.accepted_of) > 1:
        shares = (f"{name} {n} ({n / report.accepted:.0%})" for name, n in report.accepted_of.items())
        lines.append(f"by strategy: {', '.join(shares)}")
    if report.rejected:
        lines.append(f"rejected: {reasons(report)}")
    reused = f" ({report.reused} from the journal)" if report.reused else ""
    lines.append(
        f"answers: {report.requests}{reused}; tokens: {report.prompt_tokens:,} in, {report.completion_tokens:,} out"
    )
    if report.cost:
        lines[-1] += f"; in all runs: {report.cost}"
    if report.without_logprobs:
        lines.append(f"{report.without_logprobs} answers came without --logprobs: this server does not give them")
    if report.uncounted:
        lines.append(f"{report.uncounted} answers came without a count of tokens: what they cost is estimated")
    if report.stopped:
        lines.append(report.stopped)
    if report.failed:
        again = "" if report.complete else "; the same command asks for them again"
        lines.append(f"failed: {report.failed}, the last one with: {report.last_failure}{again}")
    return "\n".join(lines)


def _parser() -> Arguments:
    parser = Arguments("generate", "Ask a teacher for instructions and answers.", config=True, epilog=EXAMPLES)
    add = parser.add_argument
    add("--strategy", help=f"how to ask: {', '.join(STRATEGIES)}, or package.module:Class")
    add("--teacher", help=f"whom to ask: {', '.join(TEACHERS)}, or package.module:Class")
    add("-o", "--output", metavar="JSONL", help="the rows; journal, rejected rows and recipe stand beside it")
    add("--rows", type=int, help="how many accepted rows (default: as many as there are instructions)")
    add("--force", action="store_true", help="start again; what was there becomes .old with the first answer")
    add("--filters", metavar="YAML", help="thresholds, such as '{length: {max_output: 2000}, media: false}'")
    add("--against", nargs="+", metavar="FILE", help="existing sets and evaluation files no row may be too near to")
    add("--reparse", action="store_true", help="read the journal's answers again with today's parser; asks nothing")
    add("--compact", action="store_true", help="only tidy the journal of -o: one row a request, no damaged lines")

    asking.add_options(parser)

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


def _filters(args: argparse.Namespace) -> dict[str, Any] | None:
    """`--filters`, with the files of `--against` among them."""
    filters = asking.yaml_mapping(args.filters, "--filters", asking.MAPPINGS["filters"])
    if not args.against:
        return filters
    options = (filters or {}).get("against")
    return {**(filters or {}), "against": {**(options if isinstance(options, dict) else {}), "files": args.against}}


def _needs_no_key(args: argparse.Namespace) -> None:
    """Nothing is sent when a journal is read again: an endpoint's teacher is built all the same, for its name."""
    for name in str(args.api_key_env or "OPENAI_API_KEY").split(","):
        os.environ.setdefault(name.strip(), "not-needed")
