"""The engine that spreads a pool's tasks over a Ray cluster, through Ray Data.

A task is one file, or some thousand rows of one, as plain values; a worker reads, tests, converts and cleans its rows
and sends back what passes. Which rows are drawn, what is a duplicate and the writing stay with the driver, in the order
of the tasks, so the result is the same to the byte as without Ray. Files must lie at the same path on every node (a
shared folder), and minituo must be installed there. The cluster is that of $RAY_ADDRESS; without one, this machine.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data_gen.line_index import NoIndex
from data_gen.pools import Engine
from data_gen.records import DataError


def ray_engine() -> Engine:
    """The engine; DataError when Ray is not installed or its cluster does not answer."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise DataError("--engine ray needs Ray: pip install 'minituo[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of this run
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise DataError(f"no Ray cluster answers at $RAY_ADDRESS {address!r}: {error}") from None
    return run


def run(do: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[Any]:
    """Do a function for every task on the cluster; what they yield, in the order of the tasks."""
    import ray.data

    if not tasks:
        return
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    rows = [{"task": pickle.dumps((do, task))} for task in tasks]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(work)
    for row in done.iter_rows():
        fault, found = pickle.loads(row["found"])
        yield from found
        if fault is not None:
            raise fault


def work(row: dict[str, Any]) -> dict[str, Any]:
    """One task, on whichever node; what it yields, and the error that ended it."""
    do, task = pickle.loads(row["task"])
    found: list[Any] = []
    fault: Exception | None = None
    try:
        found += do(task)
    except (DataError, NoIndex, OSError) as error:
        fault = error
    return {"found": pickle.dumps((fault, found))}
