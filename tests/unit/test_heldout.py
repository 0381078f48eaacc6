"""What a sample holds out: decided by the question, the seed and the share, never by what else was drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from data_gen import shards
from data_gen.mixes import build_mix
from data_gen.records import Record, read_records, write_records
from data_gen.sampling import sample_rows
from tests import samples
from tests.samples import questions, rows_of, write

in_empty_folder = samples.in_empty_folder


def split(*inputs: str, **options: Any) -> tuple[set[str], set[str]]:
    """The questions of both sides."""
    given = {"seed": 5, "heldout": 0.2} | options
    sample_rows(inputs or [write()], "train.jsonl", heldout_out="valid.jsonl", force=True, **given)
    return set(questions("train.jsonl")), set(questions("valid.jsonl"))


@pytest.mark.parametrize("options", [{}, {"where": ["star>=3"]}, {"convert": True}, {"by": "star"}], ids=str)
def test_both_sides_of_a_smaller_sample_are_part_of_those_of_a_larger_one(options: dict[str, Any]) -> None:
    """A quantile of what was drawn would train on rows that the larger sample holds out."""
    found = [split(rows=rows, **options) for rows in (30, 60, 90, 120)]
    for (train, valid), (more, more_valid) in pairwise(found):
        assert train < more
        assert valid <= more_valid
    assert found[-1][1]
    assert not any(train & valid for train, _ in found for _, valid in found)


def test_a_budget_keeps_the_sides_too() -> None:
    few, more = (split(budget=budget, measure=shards.characters) for budget in (200, 500))
    assert (few[0] < more[0], few[1] <= more[1]) == (True, True)


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    found = [split(heldout=share)[1] for share in (0.05, 0.1, 0.3, 0.6)]
    assert all(few < more for few, more in pairwise(found))


def test_the_share_is_kept_on_average_and_the_seed_decides() -> None:
    source = write(rows=rows_of(2000))
    found = [split(source, seed=seed)[1] for seed in range(5)]
    assert all(0.17 < len(one) / 2000 < 0.23 for one in found)
    assert len({frozenset(one) for one in found}) == 5


def test_a_sample_and_a_mix_with_one_seed_hold_out_the_same() -> None:
    source = write()
    _, valid = split(source)
    Path("mix.yaml").write_text(f"name: m\nseed: 5\nheldout: 0.2\nsources: {{{source}: all}}\n")
    build_mix("mix.yaml", "mix.jsonl")
    assert set(questions("mix.heldout.jsonl")) == valid


def test_answers_to_one_question_stay_together_in_rows_of_any_known_form() -> None:
    """Rows of webtext have no `instruction`; its questions have many answers."""
    rows = [{"qid": n, "title": f"题{n % 50}", "desc": "", "star": 1, "content": f"答{n}"} for n in range(500)]
    Path("web.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    sample_rows(["./web.jsonl"], "train.jsonl", heldout=0.3, heldout_out="valid.jsonl")
    titles = [re.findall("题[0-9]+", Path(name).read_text(encoding="utf-8")) for name in ("train.jsonl", "valid.jsonl")]
    train, valid = map(set, titles)
    assert not train & valid
    assert len(train) + len(valid) == 50
    assert valid


def test_every_row_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = write()
    read: list[int] = []
    seen = shards.rows_of

    def rows_of(*given: Any) -> Iterator[Any]:
        for row in seen(*given):
            read.append(row.number)
            yield row

    monkeypatch.setattr(shards, "rows_of", rows_of)
    split(source)
    assert read == list(range(200))


def test_what_is_held_out_stays_so_in_other_versions() -> None:
    """Samples that are drawn today must not train on what was held out yesterday."""
    write_records("in.jsonl", [Record(f"问{n}", output="答") for n in range(20)])
    assert split("./in.jsonl", seed=1)[1] == {f"问{n}" for n in (2, 6, 8, 9, 11, 13, 18, 19)}


def captions(n: int) -> str:
    Path("data/coco-cn").mkdir(parents=True)
    for kind in ("human-written", "manually-translated"):
        lines = (f"COCO_val2014_{i % 40:012}#{i}\t{kind}：第{i}张\n" for i in range(n))
        Path(f"data/coco-cn/imageid.{kind}-caption.txt").write_text("".join(lines), encoding="utf-8")
    return "coco-cn"


def test_captions_are_split_by_their_pictures() -> None:
    """All of them ask for a caption: by that alone they would all be on one side."""
    source = captions(120)
    sides = {}
    for rows in (100, 200):
        sample_rows(
            [source], "train.jsonl", rows=rows, convert=True, seed=2, heldout=0.2, heldout_out="valid.jsonl", force=True
        )
        read = [
            list(map(orjson.loads, Path(name).read_bytes().splitlines())) for name in ("train.jsonl", "valid.jsonl")
        ]
        sides[rows] = [{row["meta"]["image"] for row in side} for side in read]
        assert not sides[rows][0] & sides[rows][1]
        assert 1 < len(sides[rows][1]) < 20
    assert all(few <= more for few, more in zip(sides[100], sides[200], strict=True))
    Path("mix.yaml").write_text("name: m\nseed: 2\nheldout: 0.2\nsources: {coco-cn: all}\n")
    build_mix("mix.yaml", "mix.jsonl")
    held = {orjson.loads(line)["meta"]["image"] for line in Path("mix.heldout.jsonl").read_bytes().splitlines()}
    assert sides[200][1] <= held
    assert not held & sides[200][0]


def test_texts_that_answer_nothing_are_split_by_what_they_say() -> None:
    Path("in.csv").write_text("text\n" + "".join(f"第{n % 50}段\n" for n in range(100)), encoding="utf-8")
    sample_rows(["./in.csv"], "train.jsonl", columns={"output": "text"}, heldout=0.3, heldout_out="valid.jsonl")
    train, valid = ({row.output for row in read_records(name)} for name in ("train.jsonl", "valid.jsonl"))
    assert not train & valid
    assert 5 <= len(valid) <= 25


@pytest.mark.parametrize("mix", [False, True])
def test_rows_that_all_ask_the_same_are_told_of(mix: bool, capsys: pytest.CaptureFixture[str]) -> None:
    write_records("in.jsonl", [Record("续写。", output=f"第{n}段") for n in range(30)])
    write_records("other.jsonl", [Record(f"第{n}问", output="答") for n in range(30)])
    if mix:
        Path("mix.yaml").write_text("name: m\nheldout: 0.3\nsources: {./in.jsonl: all, ./other.jsonl: all}\n")
        build_mix("mix.yaml", "mix.jsonl")
    else:
        split("./in.jsonl", "./other.jsonl")
    name = "./in.jsonl" if mix else "in.jsonl"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert said == [f"note: the 30 rows of {name} all ask the same, so all are on one side of the split"]
