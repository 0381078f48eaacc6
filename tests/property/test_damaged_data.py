"""Whatever bytes and rows come in: a DataError or rows, never another exception."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import random
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.columns import from_columns
from data_gen.converters import CONVERTERS, guess
from data_gen.formats import read_rows
from data_gen.records import DataError, Record
from data_gen.rows import Tally
from tests.raw_rows import CASES

ROWS = [{"instruction": f"问{n}\u2028", "input": 'a"b', "output": "行\n" * 3, "n": [1, 2.5, None]} for n in range(20)]


def whole_files() -> dict[str, bytes]:
    """A sound file of each form. Not Parquet: what its library makes of damage is not for this test to risk."""
    import pandas as pd
    import pyarrow as pa

    lines = "".join(json.dumps(row, ensure_ascii=n % 2 > 0) + "\n" for n, row in enumerate(ROWS)).encode()
    frame = pd.DataFrame(ROWS).drop(columns="n")
    files = {
        "a.jsonl": lines,
        "a.json": json.dumps(ROWS, ensure_ascii=False, indent=1).encode(),
        "at.json": json.dumps({"version": 1, "data": ROWS}).encode(),
        "a.csv": frame.to_csv(index=False).encode(),
        "a.tsv": frame.to_csv(index=False, sep="\t").encode(),
        "a.txt": "床前明月光\n\u0085\n".encode() * 9,
        "a.jsonl.gz": gzip.compress(lines),
        "a.jsonl.zst": pa.compress(lines, codec="zstd", asbytes=True),
    }
    table, arrow = pa.Table.from_pylist(ROWS), io.BytesIO()
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    files["a.arrow"] = arrow.getvalue()
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive, tarfile.open(fileobj=tarred, mode="w") as tar:
        for name in ("a.jsonl", "a.json", "a.csv", "a.jsonl.gz"):
            archive.writestr(name, files[name])
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    tar_bytes = tarred.getvalue()
    return files | {"a.zip": zipped.getvalue(), "a.tar": tar_bytes, "a.tar.bz2": bz2.compress(tar_bytes)}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with a few bytes changed, put in, left out, or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(data)) if data else 0
        what = rng.random()
        if what < 0.5 and data:
            data[place] = rng.randrange(256)
        elif what < 0.6:
            data[place:place] = rng.randbytes(rng.randrange(5))
        elif what < 0.8:
            del data[place : place + rng.randrange(1, 40)]
        elif what < 0.9:
            del data[place:]
        else:
            data[place : place + 5] = data[:5]
    return bytes(data)


@pytest.mark.parametrize("name", whole_files())
def test_damaged_files(tmp_path: Path, name: str) -> None:
    content, rng, path, stopped = whole_files()[name], random.Random(name), tmp_path / name, 0
    at = "data" if name == "at.json" else ""
    for _ in range(40):
        path.write_bytes(damaged(content, rng))
        for mode in ("stop", "skip"):
            try:
                rows = sum(1 for _ in read_rows(path, tally=Tally(mode), at=at))
            except DataError as error:
                said, rows = str(error), 0
                stopped += 1
            else:
                said = str(path)
            assert str(path) in said
            assert rows <= 200
    assert stopped or name == "a.txt"


FIELDS = sorted(
    {key for _, row, _ in CASES if isinstance(row, dict) for key in row} | {"turn_1", "Human", "input_text"}
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["User: 甲", '{"Q": 1}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", CONVERTERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rows_of_any_kind(name: str, data: Any) -> None:
    """A row that was sound, some of whose fields hold something else now."""
    row = data.draw(st.sampled_from([row for case, row, _ in CASES if case == name]))
    changes = data.draw(
        st.dictionaries(st.sampled_from(list(row) if isinstance(row, dict) else ["x"]), VALUES, max_size=2)
    )
    row = {**row, **changes} if isinstance(row, dict) else [*row, data.draw(VALUES)]
    for convert in (CONVERTERS[name], from_columns({"instruction": "input", "output": "output.0.text"})):
        with suppress(DataError):
            made = convert(row)
            assert isinstance(made, Record)
            assert all(isinstance(text, str) for text in (made.instruction, made.input, made.output, made.system))
            assert all(isinstance(text, str) for turn in made.history for text in turn)


@settings(max_examples=200, deadline=None)
@given(row=VALUES)
def test_guessing_at_anything(row: Any) -> None:
    with suppress(DataError):
        assert guess(row) in CONVERTERS
