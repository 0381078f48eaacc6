"""A mix, or any JSONL of records, as a `datasets.Dataset` (Arrow, memory-mapped) or a pandas frame.

    rows = as_dataset("mix.jsonl")        # mix.arrow beside it, made once; columns of one fixed type
    frame = as_frame("mix.jsonl")

Records' `meta` differs from source to source, which no column of one type can hold: it becomes a column of JSON text.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import orjson

from data_gen.errors import no_file
from data_gen.outputs import part_of
from data_gen.records import DataError, read_records

ROWS_A_BATCH = 10_000
TEXTS = ("instruction", "input", "output", "system")


def as_dataset(path: str | Path) -> Any:
    """A memory-mapped `datasets.Dataset` of a JSONL of records; only what is read is loaded."""
    from datasets import Dataset

    return Dataset.from_file(str(arrow_of(Path(path))))


def as_frame(path: str | Path) -> Any:
    """A pandas frame of the same columns."""
    import pyarrow as pa

    with pa.memory_map(str(arrow_of(Path(path)))) as file:
        return pa.ipc.open_stream(file).read_all().to_pandas()


def arrow_of(path: Path) -> Path:
    """The Arrow stream beside a JSONL of records, written when it is missing or older than what it was made of."""
    if not path.is_file():
        raise DataError(no_file(path))
    info = path.stat()
    stamp = f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}".encode()
    arrow = path.with_suffix(".arrow")
    if arrow.is_file() and stamp_of(arrow) == stamp:
        return arrow
    if arrow.is_file() and stamp_of(arrow) is None:
        raise DataError(f"{arrow} is in the way: it is no table of {path.name}; move it")
    part = part_of(arrow)
    with part.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a training all ask for it, and the first one makes it
        made = arrow.is_file() and stamp_of(arrow) == stamp
        try:
            if not made:
                _write(path, part, stamp)
                os.replace(part, arrow)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if made:
            part.unlink(missing_ok=True)
    return arrow


def stamp_of(arrow: Path) -> bytes | None:
    """Of which file an Arrow stream was made; None when it is none of ours."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(arrow)) as file:
            found: bytes | None = (pa.ipc.open_stream(file).schema.metadata or {}).get(b"minituo")
            return found
    except (pa.ArrowException, OSError):
        return None


def _write(path: Path, part: Path, stamp: bytes) -> None:
    import pyarrow as pa

    turns = pa.list_(pa.list_(pa.string()))
    fields = [*((name, pa.string()) for name in TEXTS), ("history", turns), ("id", pa.string())]
    schema = pa.schema([*fields, ("source", pa.string()), ("meta", pa.string())], metadata={b"minituo": stamp})
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        rows: list[dict[str, Any]] = []
        for record in read_records(path):
            rows.append(record.to_dict() | {"meta": orjson.dumps(record.meta).decode()})
            if len(rows) == ROWS_A_BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                rows = []
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
