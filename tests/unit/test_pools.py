"""What a pool tells of its reading, and that what it read stays what it was."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from data_gen import curriculum, mixes, sampling, shards
from data_gen.mixes import build_mix
from data_gen.progress import Progress
from data_gen.records import DataError
from data_gen.sample_manifest import SampleManifest
from data_gen.sampling import sample_rows
from tests import samples
from tests.samples import rows_of, write

in_empty_folder = samples.in_empty_folder


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """Those that are made from now on."""
    made: list[Progress] = []

    class Kept(Progress):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            made.append(self)

    monkeypatch.setattr(sampling, "Progress", Kept)
    monkeypatch.setattr(mixes, "Progress", Kept)
    monkeypatch.setattr(shards, "TELL_EVERY", 7)
    return made


@pytest.mark.parametrize("form", ["lines", "array", "packed", "both"])
@pytest.mark.parametrize(
    "options",
    [
        {"rows": 150, "where": ["star>=2"]},
        {"rows": 40, "by": "star", "convert": True},
        {"convert": True},
        {"budget": 900, "measure": shards.characters},
        {"rows": 200},
        {"rows": 200, "heldout": 0.5, "heldout_out": "held.jsonl"},
    ],
    ids=["filtered", "strata", "records", "budget", "rows", "heldout"],
)
def test_a_row_is_told_of_once_however_often_it_is_read(
    form: str, options: dict[str, Any], bars: list[Progress]
) -> None:
    write()
    Path("in.json").write_text(json.dumps(rows_of()), encoding="utf-8")
    Path("in.jsonl.gz").write_bytes(gzip.compress(Path("in.jsonl").read_bytes()))
    Path("both").mkdir()
    for name in ("in.jsonl", "in.json"):
        Path("both", name).write_bytes(Path(name).read_bytes())
    path = {"lines": "./in.jsonl", "array": "./in.json", "packed": "./in.jsonl.gz", "both": "./both/"}[form]
    sample_rows([path], "out.jsonl", allow_fewer=True, **options)
    told, rows = bars[0].done, 400 if form == "both" else 200
    assert told == rows if form != "lines" or "budget" not in options else 0 < told <= rows


@pytest.mark.parametrize("options", [{"convert": True}, {"heldout": 0.5, "heldout_out": "held.jsonl"}], ids=str)
def test_an_index_is_read_to_its_end(options: dict[str, Any], bars: list[Progress]) -> None:
    """After the last row it is seen whether the file is still the same."""
    sample_rows([write()], "out.jsonl", rows=20, **options)
    assert bars[0].done == 20


def test_made_rows_and_rows_of_a_mix_are_told_of_once(bars: list[Progress]) -> None:
    write()
    sample_rows(["curriculum"], "made.jsonl", rows=33)
    Path("in.json").write_text(json.dumps(rows_of()), encoding="utf-8")
    Path("mix.yaml").write_text("name: m\nsources: {./in.json: 150, curriculum: 20}\n")
    build_mix("mix.yaml", "mix.jsonl")
    sample_rows(["./in.jsonl", "./in.json"], "two.jsonl", rows=20, by="star")
    assert [bar.done for bar in bars] == [33, 220, 400]


def test_many_rows_that_are_made_on_the_spot_are_made_once_and_told_of(
    bars: list[Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred million rows take an hour: how many there will be is known, and how many are written already."""
    items, advance = curriculum.items, Progress.advance
    made, notes = list[int](), list[str]()

    def counted(*given: Any, **more: Any) -> Iterator[Any]:
        for item in items(*given, **more):
            made.append(1)
            yield item

    def noted(bar: Progress, n: int = 1, note: str | None = None) -> None:
        notes.extend([note] if note else [])
        advance(bar, n, note)

    monkeypatch.setattr(curriculum, "items", counted)
    monkeypatch.setattr(Progress, "advance", noted)
    monkeypatch.setattr(sampling, "TELL_EVERY", 20)
    monkeypatch.setattr(mixes, "TELL_EVERY", 20)
    sample_rows(["curriculum"], "made.jsonl", rows=50)
    assert (bars[0].total, bars[0].done, len(made)) == (50, 50, 1 + 50)  # of the first one the form was asked
    assert notes == ["curriculum: 20 written", "curriculum: 40 written"]
    family = json.loads(Path("made.jsonl").read_text().splitlines()[0])["meta"]["family"]
    made.clear()
    taken = sample_rows(["curriculum"], "some.jsonl", rows=5, where=[f"family=={family}"]).taken[0]
    assert (bars[1].total, taken.rows_in, taken.taken) == (None, len(made) - 1, 5)
    with pytest.raises(DataError, match=r"none of its rows passes \(10,200 left out: where\); 1 rows are wanted"):
        sample_rows(["curriculum"], "none.jsonl", rows=1, where=["family==none"])
    assert sample_rows(["curriculum"], "none.jsonl", rows=1, where=["family==none"], allow_fewer=True).rows == 0
    notes.clear()
    Path("mix.yaml").write_text("name: m\ndedup: none\nsources: {curriculum: 50}\n")
    build_mix("mix.yaml", "mix.jsonl")
    assert notes[-1] == "curriculum: 40 of 50 written"


def test_the_count_goes_on_while_a_file_is_gone_through(bars: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting the rows of a large file takes minutes."""
    steps: list[int] = []
    monkeypatch.setattr(Progress, "advance", lambda self, n=1, note=None: steps.append(n))
    Path("in.jsonl.gz").write_bytes(gzip.compress(Path(write()).read_bytes()))
    sample_rows(["./in.jsonl.gz"], "out.jsonl", rows=20)
    assert steps[:28] == [7] * 28
    assert sum(steps) == 200


@pytest.mark.parametrize("engine", ["sample", "manifest", "mix"])
def test_a_file_that_changes_while_it_is_read_is_an_error(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, then drawn from; what the manifest says of it was found before."""
    Path("in.json").write_text(json.dumps(rows_of()), encoding="utf-8")
    Path("mix.yaml").write_text("name: m\nsources: {./in.json: 50}\n")
    seen, passes = shards.rows_of, []

    def rows(*given: Any) -> Any:
        passes.append(1)
        Path("in.json").write_text(json.dumps(rows_of()[:120]), encoding="utf-8")
        return seen(*given)

    beside = SampleManifest(["./in.json"], Path("out.jsonl"), {}).write if engine == "manifest" else None
    monkeypatch.setattr(shards, "rows_of", rows)
    mix = partial(build_mix, "mix.yaml", "out.jsonl")
    make = mix if engine == "mix" else partial(sample_rows, ["./in.json"], "out.jsonl", rows=50, beside=beside)
    with pytest.raises(DataError, match=r"in.json was changed while it was read; run it again when nobody writes"):
        make()
    assert passes
    assert sorted(os.listdir()) == ["in.json", "mix.yaml"]
