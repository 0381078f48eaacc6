"""What a mix leaves out and rewrites: cleaning, filters, near duplicates, evaluation items, held-out questions."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import near_duplicates
from data_gen.cards import manifest_card
from data_gen.cleaning import Cleaner
from data_gen.contamination import Contamination, item_text, plain
from data_gen.mixes import build_mix
from data_gen.near_duplicates import NearDuplicates, grams_of
from data_gen.records import DataError, Record, content_id, read_records, write_records
from tests import mixing
from tests.mixing import recipe, taken

TEXT = "".join(chr(0x4E00 + (i * 7919) % 6000) for i in range(3000))


in_empty_folder = mixing.in_empty_folder


def records(path: str, *rows: Record) -> str:
    write_records(path, rows)
    return f"./{path}"


def test_nfkc_and_simplified() -> None:
    clean = Cleaner(nfkc=True, simplified=True)
    before = Record("ＡＢＣ１２３，漢字", output="頭髮、發展", history=[["這裡", "那裡"]])
    record, why = clean(before)
    assert (record.instruction, record.output, record.history, why) == (
        "ABC123,汉字",
        "头发、发展",
        [["这里", "那里"]],
        "",
    )
    assert record.id == content_id(record)
    kept = Record("漢", output="字", id="their own")
    assert clean(kept)[0].id == "their own"


def test_traditional_rows_are_duplicates_of_simplified_ones() -> None:
    path = records("a.jsonl", Record("汉字是什么", output="文字"), Record("漢字是什麼", output="文字"))
    assert build_mix(recipe({path: "all"}), "out.jsonl")["rows"] == 2
    manifest = build_mix(recipe({path: "all"}, simplified=True), "out.jsonl")
    assert manifest["sources"][0]["dropped"] == {"duplicate": 1}
    assert "opencc" in manifest["versions"]


def test_filters_and_licences() -> None:
    rows = [
        Record("甲", output="好"),
        Record("这个问题的答案太长", output="长" * 50),
        Record("What is this?", output="It is English, all of it"),
        Record("这一行另有许可", output="不同的许可", meta={"licence": "CC-BY-NC-4.0"}),
        Record("这一行没有问题", output="对"),
    ]
    filters = {"length": {"min_instruction": 2, "max_output": 40}, "chinese_share": {"least": 0.5}}
    source = {records("a.jsonl", *rows): {"rows": "all", "licence": "MIT"}}
    manifest = build_mix(recipe(source, filters=filters, licences=["MIT"]), "out.jsonl")
    assert taken() == ["这一行没有问题"]
    dropped = manifest["sources"][0]["dropped"]
    assert dropped == {"instruction too short": 1, "output too long": 1, "not Chinese": 1, "licence": 1}


def test_a_commercial_mix_refuses_what_is_not() -> None:
    path = records("a.jsonl", Record("甲", output="乙"))
    for licence, why in (
        ("CC-BY-NC-4.0", "forbids commercial use \\(CC-BY-NC-4.0\\)"),
        ("", "has unclear rights"),
    ):
        part = {"rows": "all"} | ({"licence": licence} if licence else {})
        with pytest.raises(DataError, match=rf"mix 'mine' is for commercial use, and ./a.jsonl {why}"):
            build_mix(recipe({path: part}, licence="commercial"), "out.jsonl")
    build_mix(recipe({path: {"rows": "all", "licence": "MIT"}}, licence="commercial"), "out.jsonl")


def changed(text: str, places: int, rng: random.Random) -> str:
    letters = list(text)
    for at in rng.sample(range(len(letters)), places):
        letters[at] = chr(rng.randrange(0x3400, 0x4000))
    return "".join(letters)


def test_near_duplicates_are_those_of_jaccard_0_8() -> None:
    """Every pair of 400 is decided as counting its 5-grams decides, but for a few just above the bound."""
    pytest.importorskip("rensa")
    rng, wrong, found = random.Random(0), 0, 0
    for n in range(400):
        text = TEXT[rng.randrange(2000) :][:300]
        other = changed(text, n % 12, rng)
        near = NearDuplicates()
        near.add(Record(text, output="答"))
        grams, others = grams_of(text + "答"), grams_of(other + "答")
        jaccard = len(grams & others) / len(grams | others)
        said = near.seen(Record(other, output="答"))
        assert not said or jaccard >= 0.8
        found += said
        wrong += said != (jaccard >= 0.8)
    assert found > 150
    assert wrong <= 3


def test_near_duplicates_across_and_within_sources() -> None:
    pytest.importorskip("rensa")
    rng = random.Random(1)
    text = TEXT[:400]
    records(
        "a.jsonl",
        Record(text, output="一"),
        Record(TEXT[500:900], output="二"),
        Record(changed(text, 3, rng), output="一"),
    )
    records("b.jsonl", Record(changed(text, 4, rng), output="一"), Record(TEXT[1000:1400], output="三"))
    sources = {"./a.jsonl": "all", "./b.jsonl": "all"}
    manifest = build_mix(recipe(sources, dedup="near"), "out.jsonl")
    assert [part["dropped"] for part in manifest["sources"]] == [{"near duplicate": 1}, {"near duplicate": 1}]
    assert "rensa" in manifest["versions"]
    assert build_mix(recipe(sources, dedup="near", near_threshold=0.99), "out.jsonl")["rows"] == 5


def test_a_draw_is_filled_up_past_near_duplicates() -> None:
    pytest.importorskip("rensa")
    rng = random.Random(2)
    rows = [Record(changed(TEXT[100 * i :][:300], 1, rng), output="答") for i in range(20) for _ in range(30)]
    manifest = build_mix(recipe({records("a.jsonl", *rows): 20}, dedup="near"), "out.jsonl")
    assert manifest["rows"] == 20
    with pytest.raises(
        DataError, match=r"a.jsonl has 20 rows to draw from .580 left out: near duplicate., 21 are wanted"
    ):
        build_mix(recipe({"./a.jsonl": 21}, dedup="near"), "out.jsonl")


def evaluation() -> str:
    rows = [
        {"question": TEXT[:40], "A": "甲", "B": "乙", "answer": "A"},
        {"question": "短题", "options": ["是", "否"]},
        {"Question": "下列哪一项是", "choices": {"text": [TEXT[100:110], TEXT[110:120]]}},
    ]
    Path("eval.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return "eval.jsonl"


def test_decontamination_and_its_report() -> None:
    rows = [
        Record("问", output=f"前{TEXT[20:33]}后"),  # 13 characters of the first question
        Record("问", output=f"前{TEXT[20:32]}后"),  # 12
        Record("问", input=" ".join(TEXT[5:18]) + "！", output="空格和标点不算"),
        Record("短题是否", output="整道题"),
        Record("又是短题是否", output="不是整道题"),
        Record("选项", output=TEXT[104:117]),  # across two options
        Record("历史", output="答", history=[[TEXT[1:20], "嗯"]]),
    ]
    manifest = build_mix(recipe({records("a.jsonl", *rows): "all"}, decontaminate=[evaluation()]), "out.jsonl")
    assert [record.output for record in read_records("out.jsonl")] == [f"前{TEXT[20:32]}后", "不是整道题"]
    assert manifest["sources"][0]["dropped"] == {"in an evaluation file": 5}
    report = [orjson.loads(line) for line in Path("out.decontamination.jsonl").read_bytes().splitlines()]
    assert [(row["row"], row["shared"]) for row in report][:2] == [(1, TEXT[20:33]), (1, TEXT[5:18])]
    assert [row["row"] for row in report] == [1, 1, 2, 3, 1]
    assert {row["evaluation"] for row in report} == {"eval.jsonl"}
    said = manifest["decontamination"]
    assert (said["removed"], said["by_file"], said["report"]) == (5, {"eval.jsonl": 5}, "out.decontamination.jsonl")
    assert "5 records that share 13 characters with eval.jsonl" in manifest_card(manifest)
    assert not build_mix("mix.yaml", "out.jsonl")["built"]
    Path("eval.jsonl").write_text('{"question": "别的题目"}\n')
    assert build_mix("mix.yaml", "out.jsonl")["rows"] == 7


@settings(max_examples=40, deadline=None)
@given(st.text("甲乙丙丁戊 ，。", max_size=40), st.text("甲乙丙丁戊 ，。", max_size=60))
def test_a_hit_is_what_a_plain_search_finds(item: str, text: str) -> None:
    found = Contamination([])
    found._add(item, (0, 1))
    found.files.append("x")
    squeezed, asked = plain(text), plain(item)
    grams = [asked[i : i + 13] for i in range(len(asked) - 12)]
    expected = any(gram in squeezed for gram in grams) or (0 < len(asked) < 13 and squeezed == asked)
    assert (found.hit(Record("", output=text)) is not None) == expected


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"question": "问", "A": "甲", "B": "乙", "answer": "A"}, "问甲乙"),
        ({"stem": "问", "options": {"A": "甲", "B": "乙"}}, "问甲乙"),
        ({"instruction": "问", "input": "物", "output": "答"}, "问物"),
        ({"question": {"stem": "问"}, "choices": ["甲", 2]}, "问甲2"),
    ],
)
def test_items_in_their_usual_forms(row: dict[str, Any], text: str) -> None:
    assert item_text(row, Path("x"), 1) == text


def test_an_evaluation_file_without_questions() -> None:
    Path("eval.csv").write_text("题,答\n甲,乙\n")
    with pytest.raises(DataError, match=r"eval.csv, line 2: an evaluation item has one of question.*found 题, 答"):
        Contamination(["eval.csv"])
    path = records("a.jsonl", Record("甲", output="乙"))
    with pytest.raises(DataError, match=r"decontaminate: no file none.csv"):
        build_mix(recipe({path: "all"}, decontaminate=["none.csv"]), "out.jsonl")


def away(do: Any, tasks: Any) -> Iterator[Any]:
    """An engine that, as a cluster does, sends work and what it gives as bytes."""
    for task in tasks:
        again, sent = pickle.loads(pickle.dumps((do, task)))
        yield from pickle.loads(pickle.dumps(list(again(sent))))


def test_what_costs_most_is_done_where_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sketches and evaluation items are the engine's work; the result is the same to the byte."""
    pytest.importorskip("rensa")
    rng = random.Random(3)
    rows = [Record(changed(TEXT[70 * (i % 40) :][:200], i % 7, rng), output=f"答{i % 9}") for i in range(300)]
    rows += [Record("问", output=f"前{TEXT[20:33]}后{i}") for i in range(20)] + rows[:30]
    rng.shuffle(rows)
    sources = {records("a.jsonl", *rows[:200]): {"rows": 60}, records("b.jsonl", *rows[200:]): "all"}
    made = recipe(sources, dedup="near", decontaminate=[evaluation()], heldout=0.2)
    here = build_mix(made, "here.jsonl")
    inside: list[str] = []  # what the comparing process is asked to find out by itself
    monkeypatch.setattr(Contamination, "hit", spied(Contamination.hit, inside, "hit"))
    monkeypatch.setattr(near_duplicates, "_minhash", spied(near_duplicates._minhash, inside, "sketch"))

    def apart(do: Any, tasks: Any) -> Iterator[Any]:
        for found in away(do, tasks):
            inside.clear()
            yield found
            assert not inside

    there = build_mix(made, "there.jsonl", engine=apart)
    assert [part["dropped"] for part in here["sources"]] == [part["dropped"] for part in there["sources"]]
    assert {"duplicate", "near duplicate", "in an evaluation file"} <= set(there["sources"][1]["dropped"])
    for name in (".jsonl", ".heldout.jsonl", ".decontamination.jsonl"):
        assert Path(f"here{name}").read_bytes() == Path(f"there{name}").read_bytes()


def spied(function: Any, calls: list[str], name: str) -> Any:
    def spy(*args: Any) -> Any:
        calls.append(name)
        return function(*args)

    return spy


def test_a_worker_reads_an_evaluation_file_that_changed_again() -> None:
    path = records("a.jsonl", Record("问", output=f"前{TEXT[20:33]}后"), Record("问", output="别的"))
    made = recipe({path: "all"}, decontaminate=[evaluation()])
    assert build_mix(made, "out.jsonl", engine=away)["rows"] == 1
    Path("eval.jsonl").write_text('{"question": "别的题目"}\n')
    assert build_mix(made, "out.jsonl", engine=away)["rows"] == 2


def test_held_out_questions_stay_held_out() -> None:
    path = records("a.jsonl", *(Record(f"第{i % 400}问", output=f"答{i}") for i in range(500)))
    manifest = build_mix(recipe({path: "all"}, heldout=0.2), "out.jsonl")
    train, held = set(taken()), set(taken("out.heldout.jsonl"))
    assert not train & held
    assert len(train) + len(held) == 400
    assert 50 < len(held) < 110
    assert manifest["heldout"]["rows"] + manifest["rows"] == 500
    records("b.jsonl", *(Record(f"第{i}问", output="另") for i in range(400)))
    build_mix(recipe({path: "all", "./b.jsonl": 300}, heldout=0.2), "out.jsonl")
    assert not set(taken()) & held
    assert not set(taken("out.heldout.jsonl")) & train
    Path("out.heldout.jsonl").write_text("edited")
    with pytest.raises(DataError, match=r"out.jsonl exists already"):
        build_mix("mix.yaml", "out.jsonl")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"filters": {"lenght": {}}}, r"mix.yaml: unknown filter 'lenght' \(did you mean 'length'\?\)"),
    ({"filters": {"length": {"max": 5}}}, r"filter 'length' has no threshold 'max'"),
    ({"filters": {"length": {"max_output": "5"}}}, r"threshold 'max_output' of 'length' must be a number"),
    ({"filters": {"length": 5}}, r"filter 'length' takes 'threshold: value'"),
    ({"filters": ["length"]}, r"filters must say"),
    ({"near_threshold": 0.2}, r"near_threshold is a number from 0.5 to below 1, found 0.2"),
    ({"heldout": 1}, r"heldout is a number from 0 to below 1, found 1"),
    ({"licence": "free"}, r"licence is 'any' or 'commercial', found 'free'"),
    ({"nfkc": "yes"}, r"nfkc must be true or false, found 'yes'"),
    ({"sources": {"curriculum": {"rows": 5, "file": "../x.json"}}}, r"file is a name that ends in .json or .jsonl"),
]


@pytest.mark.parametrize(("keys", "why"), WRONG)
def test_wrong_recipes(keys: dict[str, Any], why: str) -> None:
    Path("mix.yaml").write_text(yaml.safe_dump({"name": "mine", "sources": {"curriculum": 5}} | keys))
    with pytest.raises(DataError, match=why):
        build_mix("mix.yaml", "out.jsonl")
    assert os.listdir() == ["mix.yaml"]
