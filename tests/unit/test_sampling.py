"""A sample is uniform, nested, the same for the same rows and seed, and in the order of the rows."""

from __future__ import annotations

import csv
import gzip
import json
import os
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from data_gen import shards
from data_gen.quick import quick_sample
from data_gen.records import DataError, Record, read_records
from data_gen.sampling import sample_rows
from data_gen.shards import characters
from data_gen.tables import arrow_of
from distill.cli import main
from tests import samples
from tests.samples import N, questions, rows_of, sample, write

in_empty_folder = samples.in_empty_folder


def test_a_golden_sample() -> None:
    """Samples of past versions must come again."""
    assert sample([write()], rows=5, seed=42) == ["问26", "问40", "问48", "问145", "问184"]


def test_chosen_lines_are_copied_byte_for_byte() -> None:
    source = write()
    summary = sample_rows([source], "out.jsonl", rows=20, seed=3)
    assert not summary.as_records
    lines = Path(source).read_bytes().splitlines()
    chosen = Path("out.jsonl").read_bytes().splitlines()
    assert len(chosen) == 20
    assert [line for line in lines if line in set(chosen)] == chosen


def test_the_form_of_the_file_does_not_matter() -> None:
    source = write()
    expected = sample([source], rows=30, seed=9)
    Path("array.json").write_text(json.dumps(rows_of(), indent=2))
    Path("packed.jsonl.gz").write_bytes(gzip.compress(Path(source).read_bytes()))
    Path("windows.jsonl").write_bytes(b"\xef\xbb\xbf" + Path(source).read_bytes().replace(b"\n", b"\r\n\r\n"))
    with open("table.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows_of()[0])
        writer.writeheader()
        writer.writerows(rows_of())
    for form in ("./array.json", "./packed.jsonl.gz", "./windows.jsonl", "./table.csv"):
        assert sample([form], rows=30, seed=9) == expected, form


def test_records_are_written_when_asked_for_or_needed() -> None:
    source = write()
    summary = sample_rows([source], "out.jsonl", rows=3, convert=True)
    assert summary.as_records
    assert all(record.source == "in.jsonl" and record.id for record in read_records("out.jsonl"))
    Path("array.json").write_text(json.dumps(rows_of()))
    assert sample_rows(["./array.json"], "array.jsonl", rows=3, convert=True).as_records
    assert [r.id for r in read_records("array.jsonl")] == [r.id for r in read_records("out.jsonl")]
    write("panda.jsonl", [{"inputs": "问", "targets": "答"}])
    assert sample_rows([source, "./panda.jsonl"], "both.jsonl").as_records  # unlike forms
    write("more.jsonl")
    assert not sample_rows([source, "./more.jsonl"], "alike.jsonl").as_records


def test_a_folder_or_a_pattern_is_one_source() -> None:
    """Rows are numbered over all files, in the order of their names, as if they were one."""
    rows = rows_of()
    Path("corpus").mkdir()
    for n, (start, stop) in enumerate([(0, 13), (13, 150), (150, 200)]):
        write(f"corpus/part-{n}.jsonl", rows[start:stop])
    expected = sample([write()], rows=40, seed=8)
    assert sample(["./corpus/"], rows=40, seed=8) == expected
    assert sample(["corpus/part-*.jsonl"], rows=40, seed=8) == expected
    Path("corpus/part-1.jsonl.gz").write_bytes(gzip.compress(Path("corpus/part-1.jsonl").read_bytes()))
    Path("corpus/part-1.jsonl").unlink()
    assert sample(["./corpus/"], rows=40, seed=8) == expected
    assert sample(["./corpus/"], rows=40, seed=8, where=["star>=0"]) == expected
    with pytest.raises(DataError, match=r"the pattern corpus/x\* holds no file"):
        sample(["corpus/x*"])


def test_an_input_whose_share_is_no_row_gives_none() -> None:
    paths = [write(name, [row | {"instruction": name} for row in rows_of()]) for name in ("a.jsonl", "b.jsonl")]
    for options in ({}, {"where": ["star>=3"]}, {"by": "star"}, {"convert": True}):
        assert sample(paths, rows=1, weights=[0.3, 0.7], **options) == ["b.jsonl"]
        assert sample(paths, rows=1, **options) == ["a.jsonl"]


def test_what_lies_beside_rows_is_no_source_of_rows() -> None:
    """The manifest of a mix, and the table that a training made of it, which holds the same rows."""
    Path("corpus").mkdir()
    sample_rows([write()], "corpus/part.jsonl", rows=30, convert=True)
    arrow_of(Path("corpus/part.jsonl"))
    for name in ("part.manifest.json", "killed.jsonl.part", "README.md", "LICENSE", "readme.txt", "README_zh.md"):
        Path("corpus", name).write_text("{}")
    for ending in (".decontamination.jsonl", ".rejected.jsonl", ".novelty.jsonl", ".recipe.json", ".jsonl.journal"):
        Path(f"corpus/part{ending}").write_text('{"why": "not kept"}')
    for name in ("./corpus/", "./corpus/*"):
        assert len(sample([name])) == 30
    for path in Path("corpus").glob("part.*[ln]"):
        path.unlink()
    assert len(sample(["./corpus/"])) == 30


@pytest.mark.parametrize("options", [{}, {"where": ["star>=3"]}, {"by": "star"}, {"by": "star", "shares": "even"}])
def test_every_way_of_drawing_is_nested_and_repeatable(options: dict[str, Any]) -> None:
    source = write()
    samples = [sample([source], rows=rows, seed=4, **options) for rows in (7, 8, 40, 41, 100)]
    assert samples[0] == sample([source], rows=7, seed=4, index=False, **options)
    for (few, many), rows in zip(pairwise(samples), (7, 8, 40, 41), strict=True):
        assert len(few) == rows
        assert set(few) < set(many)
    assert sample([source], rows=40, seed=5, **options) != samples[2]


def test_strata_get_their_share() -> None:
    rows = [row | {"kind": "ab"[i % 10 == 0] if i % 20 else None} for i, row in enumerate(rows_of())]
    source = write(rows=rows)  # 180 a, 10 b, 10 of no kind
    kinds = {row["instruction"]: row["kind"] for row in rows}
    found = [kinds[question] for question in sample([source], rows=38, by="kind")]
    assert (found.count("a"), found.count("b")) == (36, 2)
    found = [kinds[question] for question in sample([source], rows=38, by="kind", shares="even")]
    assert (found.count("a"), found.count("b")) == (28, 10)
    found = [kinds[question] for question in sample([source], rows=9, by="kind", where=["star==0"])]
    assert found.count("b") == 9
    with pytest.raises(DataError, match=r"has 190 rows to draw from .10 left out: no kind., 191 are wanted"):
        sample([source], rows=191, by="kind")
    with pytest.raises(DataError, match=r"--by: no row of in.jsonl has a field 'knd' \(did you mean 'kind'\?\)"):
        sample([source], rows=5, by="knd")


def test_a_budget_of_characters() -> None:
    source = write(rows=[{"instruction": f"问{i:03}", "output": "答" * (i % 9)} for i in range(200)])
    sizes = {f"问{i:03}": 4 + i % 9 for i in range(200)}
    samples = []
    for budget in (20, 300, 301, 1000):
        samples.append(sample([source], budget=budget, measure=characters, seed=6))
        total = sum(sizes[question] for question in samples[-1])
        assert budget - 12 < total <= budget
        assert samples[-1] == sample([source], budget=budget, measure=characters, seed=6, index=False)
    assert all(set(few) <= set(many) for few, many in pairwise(samples))
    assert set(samples[1]) <= set(sample([source], rows=len(samples[1]), seed=6))  # the same order of the draw
    write("other.jsonl", [{"instruction": "另外", "output": "的"}] * 200)
    both = sample([source, "./other.jsonl"], budget=600, measure=characters, seed=6)
    assert [question for question in both if question != "另外"] == samples[1]
    assert both.count("另外") == 100
    with pytest.raises(DataError, match=r"has 1,593 characters to draw from, 9,999 are wanted"):
        sample([source], budget=9999, measure=characters)
    assert len(sample([source], budget=9999, measure=characters, allow_fewer=True)) == 200
    with pytest.raises(DataError, match=r"exceeds 1 characters by itself"):
        sample([source], budget=1, measure=characters)
    with pytest.raises(DataError, match=r"give no --rows, --weights or --by"):
        sample([source], budget=5, rows=5, measure=characters)


def test_a_budget_measures_few_rows_of_a_file_that_has_no_index() -> None:
    """Counting tokens costs more than reading: a row is measured only while it may be among those that fit."""
    rows = [{"instruction": f"问{i:04}", "output": "答" * (i * 7919 % 40), "star": i % 3} for i in range(3000)]
    Path("in.json").write_text(json.dumps(rows[:1800]), encoding="utf-8")
    Path("more.json").write_text(json.dumps(rows[1800:]), encoding="utf-8")
    lines = write(rows=rows)
    measured: list[int] = []

    def measure(record: Record) -> int:
        measured.append(1)
        return characters(record)

    for seed, budget, where in ((1, 1500, []), (2, 30, []), (3, 700, ["star>=1"]), (4, 10**6, [])):
        options: dict[str, Any] = {"seed": seed, "budget": budget, "where": where, "allow_fewer": True}
        expected = sample([lines], measure=characters, **options)
        measured.clear()
        assert sample(["./[im]*.json"], measure=measure, **options) == expected
        assert len(measured) <= (3000 if budget == 10**6 else 12 * len(expected) + 60)
    assert len(measured) == len(expected) == 3000


def test_rows_that_are_not_drawn_are_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(rows=rows_of(2000))
    parsed: list[bytes] = []

    def parse(line: bytes) -> Any:
        parsed.append(line)
        return orjson.loads(line)

    monkeypatch.setattr(shards, "parse_json", parse)
    assert len(sample([source], rows=10)) == 10
    assert not parsed
    assert len(sample([source], rows=10, where=["star>=5"])) == 10
    assert 10 <= len(parsed) < 300


def test_copied_rows_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held for 2,000 rows of 5,000 characters is less than a fifth of them."""
    row = {"instruction": "问", "output": "答" * 5000}
    source = write(rows=[row] * 2000)
    for options in ({}, {"where": ["instruction==问"]}, {"heldout": 0.5, "heldout_out": "v.jsonl"}):
        tracemalloc.start()
        sample_rows([source], "out.jsonl", rows=1900, force=True, **options)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 6_000_000 < 30_000_000 < Path(source).stat().st_size


def test_columns_name_the_fields() -> None:
    write("t.jsonl", [{"title": "问", "desc": "物", "answer": "答"}])
    columns = {"instruction": "title", "input": "desc", "output": "answer"}
    sample_rows(["./t.jsonl"], "out.jsonl", columns=columns)
    (record,) = read_records("out.jsonl")
    assert (record.instruction, record.input, record.output) == ("问", "物", "答")


def test_weights_share_out_the_rows() -> None:
    sources = [write("a.jsonl"), write("b.jsonl", [row | {"instruction": "乙"} for row in rows_of()])]
    found = sample(sources, rows=50, weights=[0.7, 0.3])
    assert [question == "乙" for question in found] == [False] * 35 + [True] * 15
    assert len(sample(sources, rows=51)) == 51


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"rows": 0}, "--rows must be at least 1"),
    ({"rows": 5, "weights": [0.5, 0.5]}, "2 weights for 1 sources"),
    ({"rows": 5, "weights": [0.5]}, "weights must add up to 1, 0.5 is 0.5"),
    ({"rows": 5, "weights": [-1.0]}, "greater than 0"),
    ({"rows": 5, "weights": [float("nan")]}, "greater than 0"),
    ({"weights": [1.0]}, "give --rows, too"),
    ({"heldout": 1.5, "heldout_out": "v.jsonl"}, "share from 0 to below 1"),
    ({"heldout": 0.1}, "go together"),
    ({"heldout_out": "v.jsonl"}, "go together"),
    ({"heldout": 0.1, "heldout_out": "out.jsonl"}, "the same file"),
    ({"columns": {"output": "answr"}}, "no field 'answr'"),
]


@pytest.mark.parametrize(("options", "why"), OPTIONS)
def test_wrong_options(options: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        sample_rows([write()], "out.jsonl", **options)
    assert not Path("out.jsonl").exists()


def test_outputs_are_never_overwritten_unasked() -> None:
    source = write()
    Path("out.jsonl").write_text("precious")
    with pytest.raises(DataError, match=r"out.jsonl exists already.*--force"):
        sample_rows([source], "out.jsonl")
    assert Path("out.jsonl").read_text() == "precious"
    sample_rows([source], "out.jsonl", force=True)
    assert len(questions("out.jsonl")) == N
    with pytest.raises(DataError, match=r"out.csv: JSON lines are written"):
        sample_rows([source], "out.csv")
    Path("link.jsonl").symlink_to(source)
    before = Path(source).read_bytes()
    for out, options in ((source, {}), ("link.jsonl", {"rows": 3}), (source, {"convert": True})):
        with pytest.raises(DataError, match=f"{Path(out).name} is one of the files that are read"):
            sample_rows([source], out, force=True, **options)
    assert Path(source).read_bytes() == before
    Path("null.jsonl").symlink_to("/dev/null")
    with pytest.raises(DataError, match=r"no ordinary file"):
        sample_rows([source], "null.jsonl", force=True)


def test_a_full_disk_leaves_nothing() -> None:
    source = write()
    Path("out.jsonl.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left") as caught:
        sample_rows([source], "out.jsonl")
    assert caught.value.filename == "out.jsonl"
    assert not Path("out.jsonl").exists()


def test_the_plain_sample_is_the_same_in_short() -> None:
    rows = rows_of(3000)
    for name, text in (("a", "\n"), ("b", "\r\n"), ("c", "\n \n")):
        Path(f"{name}.jsonl").write_text(text.join(json.dumps(row) for row in rows), encoding="utf-8", newline="")
        for count, seed in ((1, 0), (700, 42), (3000, 5)):
            assert quick_sample(f"./{name}.jsonl", "quick.jsonl", count, seed, True) == 3000
            sample_rows([f"./{name}.jsonl"], "out.jsonl", rows=count, seed=seed, force=True)
            assert Path("quick.jsonl").read_bytes() == Path("out.jsonl").read_bytes()
    Path("torn.jsonl").write_text('{"instruction": "')
    for name, count in (("a.jsonl", 3001), ("torn.jsonl", 1), ("none.jsonl", 1), ("a.csv", 1), ("a.jsonl", 0)):
        assert quick_sample(name, "new.jsonl", count, 0, False) is None
    assert not Path("new.jsonl").exists()
    with pytest.raises(DataError, match=r"out.jsonl exists already"):
        quick_sample("a.jsonl", "out.jsonl", 5, 0, False)
    with pytest.raises(DataError, match=r"a\.jsonl is one of the files that are read"):
        quick_sample("a.jsonl", "./a.jsonl", 5, 0, True)


def test_places_that_are_no_files(capsys: pytest.CaptureFixture[str]) -> None:
    source = write()
    os.mkfifo("pipe.jsonl")
    Path("lost.jsonl").symlink_to("nowhere")
    for argv, said in (
        (["./pipe.jsonl", "-o", "out.jsonl"], "pipe.jsonl is no ordinary file, and may be read more than once"),
        ([source, "-o", "lost.jsonl"], "lost.jsonl is a link that leads nowhere; choose another name"),
        ([source, "-o", f"{'x' * 249}.jsonl"], f"File name too long: {'x' * 249}.jsonl"),
        ([source, "-o", f"{'x' * 248}.jsonl", "--rows", "5"], f"File name too long: {'x' * 248}.jsonl"),
    ):
        assert main(["sample", *argv]) == 2
        assert said in capsys.readouterr().err
    assert sorted(os.listdir()) == ["in.jsonl", "lost.jsonl", "pipe.jsonl"]
