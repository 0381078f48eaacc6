"""The generate-instructions job: a strategy asks, a teacher answers, filters keep, files remember.

Requests are numbered. An answer is journaled when it comes, in any order; rows are read out of the answers, filtered
and written strictly in the order of the requests. So the output depends on the answers alone, not on who was faster,
and a run that was stopped only replays its journal: what was answered before is not asked again.

    out.jsonl                the rows, there when the job has come to its end (until then out.jsonl.part)
    out.rejected.jsonl       the rows that a filter turned down, each with its reason, and the requests that failed
    out.jsonl.journal        every answer
    out.recipe.json          what the output was made with, and how far it is
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_gen.budget import Budget
from data_gen.continuing import check_policy
from data_gen.estimate import estimate
from data_gen.filters import Filters
from data_gen.job_run import Run
from data_gen.output import Output, Report
from data_gen.records import DataError
from data_gen.strategies import State, Strategy, filters_of
from teachers.base import TeacherError, TextTeacher


def run(
    strategy: Strategy,
    teacher: TextTeacher,
    out: str | Path,
    rows: int | None = None,
    filters: Mapping[str, Any] | None = None,
    journal: str | Path | None = None,
    force: bool = False,
    made_with: Mapping[str, Any] | None = None,
    reparse: bool = False,
    budget: Budget | None = None,
    on_length: str = "drop",
    tell: Callable[[str], None] | None = None,
) -> Report:
    """Generate until `rows` rows are accepted or the strategy is exhausted; goes on where an earlier run stopped.

    `made_with` is what else an output depends on, such as a local model's folder: it becomes part of the recipe.
    `reparse` reads all answers of the journal out again and asks nothing; the teacher only lends its name. `budget`
    ends the asking when it is spent: what is there by then is written, and the report says so in `stopped`. `on_length`
    says what becomes of answers that the token limit cut off: drop, keep or continue. `tell` is given the estimate,
    and where a run is stopped how far it came.

    Raises DataError when `out` was made by another recipe (`force` starts again, with an empty journal), TeacherError
    when the teacher cannot go on, KeyboardInterrupt after Ctrl-C; all answers are in the journal in each case.
    """
    if rows is None and strategy.total is None:
        raise DataError(f"strategy {strategy.name!r} has no end of its own; say how many rows you want with --rows")
    if rows is not None and rows < 1:
        raise DataError(f"rows must be above 0, not {rows}")
    if check_policy(on_length) == "keep":
        filters = {**(filters or {}), "truncated": False}
    state = State(local=teacher.local, rows=rows)
    requests = strategy.requests(state)  # a strategy that this teacher cannot serve says so before a file is touched
    settings = getattr(teacher, "settings", {})
    recipe = {"strategy": strategy.name, **strategy.settings, "teacher": teacher.name, **settings, **(made_with or {})}
    chain = Filters(filters, filters_of(strategy))
    output = Output(Path(out), Path(journal) if journal else None)
    inputs = getattr(strategy, "inputs", {})
    with output.open(recipe, chain.settings, inputs, force=force) as paid, chain.remembering(output.novelty_path):
        if reparse and not len(paid):
            raise DataError(f"{paid.path} holds no answers to read; leave out --reparse")
        before = output.report
        if not reparse and before.complete and (before.exhausted or (rows is not None and before.accepted >= rows)):
            return replace(before, ran=False)
        purse = budget or Budget()
        purse.paid_before(paid.paid)
        continues = on_length == "continue"
        if tell and not reparse and (said := estimate(purse, strategy, teacher, rows, paid, continues)):
            tell(said)
        job = Run(strategy, teacher, paid, chain, state, requests, purse)
        job.reparse, job.continues = reparse, continues
        try:
            report = job.go(output)
        finally:
            if tell and len(paid) and not output.finished:
                again = reparse or job.harvest.barren  # reading them once more would end in the same way
                tell(output.told(job.report, 0 if again else len(paid)))
    if job.harvest.barren:
        raise DataError(job.harvest.barren)
    if job.halt:
        kept = f"; {len(paid)} answers are safe in {paid.path}, and the same command goes on from there"
        raise TeacherError(job.halt + (kept if len(paid) else ""))
    if job.interrupt.asked:
        raise KeyboardInterrupt
    return report
