"""The plainest sample, so many rows of one file of JSON lines, with next to nothing imported.

What `sample_rows` would write, written by the same index and ranks. Reading the registry, the formats and the rest of
data_gen would take a fifth of the time of drawing 150,000 of 1.5 million rows; here they are left alone.
"""

from __future__ import annotations

from pathlib import Path

from data_gen.line_index import NoIndex, open_index
from data_gen.outputs import block_writer, check_output, refuse_inputs
from data_gen.ranks import Order


def quick_sample(path: str, out: str, rows: int, seed: int, force: bool) -> int | None:
    """Draw `rows` rows of a file into `out`; how many it has. None when this is no plain sample: nothing was done."""
    file = Path(path).expanduser()
    if rows < 1 or not path.lower().endswith((".jsonl", ".ndjson")) or not file.is_file():
        return None
    check_output(Path(out), force)
    refuse_inputs(Path(out), [file])
    try:
        index = open_index(file)
        if rows > len(index):
            return None
        with block_writer(Path(out)) as write:
            for block in index.blocks(Order(seed).lowest(len(index), rows)):
                write(block)
    except NoIndex:
        return None
    return len(index)
