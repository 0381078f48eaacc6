"""The tables by hashes: they are dicts, of a known size; and a run's memory grows by no more than they do."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen import harvest
from data_gen.job import run
from data_gen.journal import request_hash
from data_gen.places import Ids, Places
from data_gen.strategies.answer import Answer
from teachers.base import Completion, Request


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10**12)), max_size=60))
def test_the_table_of_places_is_a_dict(pairs: list[tuple[int, int]]) -> None:
    places, expected = Places(), {}
    places._clear(2)  # it grows all the time
    for number, start in pairs:
        key = f"{(number + 1) << 80:032x}" if number % 2 else f"key{number}"
        places.put(key, start)
        expected[key] = start
        assert places.get(key) == start
    assert len(places) == len(expected)
    assert all(places.get(key) == start for key, start in expected.items())
    assert places.get("another") is None


NAMES = ["00000000000000ff", "ff", "a row", "FFFFFFFFFFFFFFFF", "", "-1", "0x00000000000000"]


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(NAMES)), max_size=50))
def test_the_table_of_ids_is_a_dict(pairs: list[tuple[int, str]]) -> None:
    ids, expected = Ids(), dict[bytes, str]()
    ids._numbers._clear(2)
    for number, name in pairs:
        digest = (number << 33).to_bytes(8, "big") if number else b"\0" * 7 + b"\7"
        ids.setdefault(digest, name)
        expected.setdefault(digest, name)
    assert len(ids) == len(expected)
    assert all(digest in ids and ids[digest] == name for digest, name in expected.items())
    assert b"\1" * 8 not in ids


def test_it_is_small_at_every_size() -> None:
    places, draw = Places(), random.Random(1)
    for count in range(1, 20_000):
        key = f"{draw.getrandbits(128):032x}"
        places.put(key, count)
        if count > 1000:
            assert 24 <= places._marks.itemsize * (len(places._marks) + len(places._starts)) / count <= 48
    assert len(places) == 19_999
    assert request_hash("m", Request("", []), local=False) not in {places.get(key)}


class Talker:
    """A teacher that answers at once and keeps nothing."""

    name, local = "talker", False

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for request in requests:
            usage = {"prompt_tokens": 64, "completion_tokens": 80}
            yield Completion(request.key, f"好的，{request.messages[-1]['content']}", model=self.name, usage=usage)


def tables(count: int) -> int:
    """Bytes of both tables after so many rows."""
    size = 1 << 10
    while 3 * count > 2 * size:
        size *= 2
    return 2 * 16 * size


def test_a_run_grows_by_two_tables_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the journal, one for duplicates; what is asked and what is answered is let go."""
    rows, first, held = 3000, 800, dict[int, int]()
    asked = (json.dumps({"instruction": f"第{n}个问题是什么？"}, ensure_ascii=False) for n in range(rows))
    (tmp_path / "in.jsonl").write_text("\n".join(asked) + "\n", encoding="utf-8")
    write, count = harvest._write, 0

    def counted(file: Any, row: Any) -> None:
        nonlocal count
        write(file, row)
        count += 1
        if count in (first, rows - 1):
            held[count] = tracemalloc.get_traced_memory()[0]

    monkeypatch.setattr(harvest, "_write", counted)
    strategy = Answer(str(tmp_path / "in.jsonl"))
    tracemalloc.start()
    try:
        report = run(strategy, Talker(), tmp_path / "out.jsonl", filters={"novelty": False})
    finally:
        tracemalloc.stop()
    assert report.accepted == rows
    grown = held[rows - 1] - held[first] - (tables(rows) - tables(first))
    assert grown / (rows - 1 - first) < 12, "bytes a row that are kept besides"
