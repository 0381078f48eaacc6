"""The options of `distill generate` about endpoints and money: what goes with every request, and when to stop."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_gen.budget import Budget
from data_gen.continuing import POLICIES
from data_gen.errors import DataError, of_yaml
from data_gen.prices import missing, price_of

ENDPOINT_OPTIONS = ("tokens_per_minute", "parameters", "response_format", "logprobs", "poll_s")
BATCH = "chatgpt-batch"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Two groups of options."""
    add = parser.add_argument_group("what goes with every request to an endpoint").add_argument
    add("--tokens-per-minute", type=float, help="of each key, read and written; never more than this")
    add("--parameters", metavar="YAML", help="more of the protocol's, such as '{frequency_penalty: 0.3}'")
    add("--response-format", metavar="json|FILE", help="answers in JSON, or by the JSON schema in a file")
    add("--logprobs", type=int, metavar="N", help="keep the probabilities of the N likeliest tokens (0 to 20)")
    add("--batch", action="store_true", help="through the Batch API: within a day, at half the price")
    add("--poll", type=float, dest="poll_s", metavar="SECONDS", help="how often to look after a batch (default 30)")

    add = parser.add_argument_group("what it may cost").add_argument
    add("--budget", type=float, metavar="MONEY", help="stop when so much is spent on this output, in all its runs")
    add("--budget-tokens", type=int, metavar="N", help="the same, counted in tokens read and written")
    add("--prices", metavar="YAML", help="prices a model (default: ./prices.yaml, then the package's list)")
    add("--on-length", choices=POLICIES, help="answers that --max-tokens cut off: drop (default), keep, continue")


def teacher_name(args: argparse.Namespace) -> str:
    """Which teacher is meant: --batch makes another one of chatgpt."""
    if args.batch and args.teacher not in {"chatgpt", BATCH}:
        raise DataError(f"--batch is for --teacher chatgpt; {args.teacher!r} has no Batch API")
    if args.batch or args.teacher == BATCH:  # a recipe may name a pace; a batch has none
        args.concurrency = args.requests_per_minute = args.tokens_per_minute = None
    return BATCH if args.batch else args.teacher


def check(args: argparse.Namespace) -> None:
    """Values that came through --config pass no `type=`; `--parameters` is YAML text on the command line only."""
    for name in ("requests_per_minute", "tokens_per_minute", "timeout_s", "poll_s"):
        value = getattr(args, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            flag = "--" + name.removesuffix("_s").replace("_", "-")
            raise DataError(f"{flag} must be a number above 0, not {value!r}")
    if isinstance(args.parameters, str):
        import yaml

        try:
            args.parameters = yaml.safe_load(args.parameters)
        except yaml.YAMLError as error:
            raise DataError(f"--parameters is not valid YAML, {of_yaml(error)}") from None
    if args.parameters is not None and not isinstance(args.parameters, Mapping):
        raise DataError("--parameters must look like '{frequency_penalty: 0.3, presence_penalty: 0.1}'")


def warn_of_keys(args: argparse.Namespace, argv: list[str]) -> None:
    """An address with a key in it had better not stand on the command line."""
    if args.base_url and "?" in args.base_url and any(word.endswith(args.base_url) for word in argv):
        told = (
            "a key in --base-url can be seen in the process list; OPENAI_BASE_URL takes the same address and hides it"
        )
        print(f"distill generate: {told}", file=sys.stderr)


def budget_of(args: argparse.Namespace, teacher: Any) -> Budget:
    """The purse for this teacher. DataError where money is to be counted and the price is not known."""
    local = getattr(teacher, "local", False)
    if local and (args.budget is not None or args.budget_tokens is not None):
        raise DataError(f"teacher {args.teacher!r} runs on this machine and costs nothing; leave out --budget")
    Budget(None, args.budget, args.budget_tokens)  # says what is wrong with the numbers
    price = None if local else price_of(teacher.name, args.prices)
    if price is None and args.budget is not None:
        raise missing(teacher.name, args.prices)
    batched = getattr(teacher, "batched", False)
    return Budget(price, args.budget, args.budget_tokens, (price.batch if price else 0.5) if batched else 1.0)


def prepare_batches(args: argparse.Namespace, teacher: Any) -> None:
    """A batch under way is remembered beside the output; without --batch its answers would be paid for again."""
    state = Path(f"{args.output}.batches")
    if hasattr(teacher, "keep_state"):
        teacher.keep_state(state)
    elif os.path.isfile(state) and not getattr(args, "reparse", False):
        raise DataError(
            f"a batch is under way for {args.output}; add --batch to fetch its answers, or remove {state} to pay for "
            "them once more"
        )


def compact_journal(output: str) -> str:
    """Tidy the journal of an output; the sentence about it."""
    from data_gen.journal import compact

    journal = Path(f"{output}.journal")
    if not os.path.isfile(journal):
        raise DataError(f"{output} has no journal {journal}")
    try:
        kept, dropped = compact(journal)
    except PermissionError as error:
        raise DataError(f"cannot tidy the journal of {output}: no permission to write {error.filename}") from None
    return f"{journal}: {kept:,} answers kept, {dropped:,} lines dropped"
