"""Rows of Parquet and Arrow files, a batch at a time; an Arrow file or a stream (what `datasets` caches)."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import IO, Any

from data_gen.records import DataError
from data_gen.rows import NOT_UTF8, PACKED_RATIO, ROW_LIMIT, UNPACKED_LIMIT, Place, Row

BATCH = 1024
PACKED_LIMIT = 1 << 30
"""Bytes of a packed Parquet or Arrow file, which has to be read whole: it is not read from its beginning"""


def columnar(place: Place) -> Iterator[Row]:
    """Rows in order; one with text that is no UTF-8 goes to the tally."""
    import pyarrow as pa

    numbers = itertools.count(1)
    with place.open() as file:
        whole = _whole(place, file)
    try:
        for batch in _batches(place, whole):
            names = batch.schema.names
            if len(set(names)) < len(names):
                raise DataError(f"{place}: two columns have one name, found {', '.join(names)}")
            yield from _rows(place, batch, numbers)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} is not readable as Parquet or Arrow: {error}") from None


def _whole(place: Place, file: IO[bytes]) -> Any:
    """The file mapped into memory; what is packed is read into it."""
    import pyarrow as pa

    if isinstance(getattr(file, "raw", None), io.FileIO):
        return pa.memory_map(str(place.path))
    content = file.read(PACKED_LIMIT + 1)
    if len(content) > PACKED_LIMIT:
        raise DataError(f"{place} unpacks to more than {PACKED_LIMIT:,} bytes; unpack it first")
    return pa.BufferReader(content)


def _batches(place: Place, whole: Any) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    head = whole.read(6)
    whole.seek(0)
    if head[:4] == b"PAR1":
        file = pq.ParquetFile(whole)
        size = sum(file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups))
        if size > max(UNPACKED_LIMIT, PACKED_RATIO * whole.size()):
            raise DataError(f"{place} unpacks to {size:,} bytes, which no text does; it is not read")
        return iter(file.iter_batches(batch_size=BATCH))
    if head == b"ARROW1":
        table = pa.ipc.open_file(whole)
        return (_sound(table.get_batch(n)) for n in range(table.num_record_batches))
    return map(_sound, pa.ipc.open_stream(whole))


def _sound(batch: Any) -> Any:
    """The batch, when its offsets stay inside of it: those of a damaged Arrow file would lead anywhere in memory."""
    import pyarrow as pa

    batch.validate()
    for column in batch.columns:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):  # whose text is looked at row by row
            column = column.view(pa.binary() if pa.types.is_string(kind) else pa.large_binary())
        column.validate(full=True)
    return batch


def _rows(place: Place, batch: Any, numbers: Iterator[int]) -> Iterator[Row]:
    for start in range(0, batch.num_rows, BATCH):
        piece = batch.slice(start, BATCH)
        if piece.nbytes > ROW_LIMIT and any(piece.slice(n, 1).nbytes > ROW_LIMIT for n in range(piece.num_rows)):
            raise DataError(f"{place}: a row longer than {ROW_LIMIT:,} bytes, which is no row")
        try:
            for value in piece.to_pylist():
                yield Row(next(numbers), value)
        except UnicodeDecodeError:
            for n in range(piece.num_rows):
                number = next(numbers)
                try:
                    (value,) = piece.slice(n, 1).to_pylist()
                except UnicodeDecodeError:
                    place.bad(number, NOT_UTF8)
                    continue
                yield Row(number, value)
