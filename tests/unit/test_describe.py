"""Languages by script, the picture, and numbers about sets of any size."""

from __future__ import annotations

import tracemalloc
import xml.etree.ElementTree as ElementTree

import pytest

from data_gen.describe import LANGUAGES, describe, language_of
from data_gen.records import Record
from distill.commands.stats_picture import picture


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你好，世界。", "zh"),
        ("用 Python 写一个 hello world", "zh"),
        ("print('你好')  # say hello to the whole world, in English", "latin"),
        ("Sag mir, wo die Blumen sind", "latin"),
        ("東京へ行きたいです", "ja"),
        ("カタカナ", "ja"),
        ("안녕하세요", "ko"),
        ("Привет", "other"),
        ("1 + 1 = ?", "none"),
        ("", "none"),
    ],
)
def test_language_by_script(text: str, language: str) -> None:
    assert language in LANGUAGES
    assert language_of(text) == language


RECORDS = [Record("你好", output="你好。"), Record("Hello there", output="Hi"), Record("问", output="答" * 20)]


def test_languages_are_counted() -> None:
    assert describe(RECORDS)["languages"] == {"zh": 2, "latin": 1}


def test_a_dialog_is_described_by_all_of_its_turns() -> None:
    numbers = describe(
        [Record("ok?", output="ok!", system="你是助手。", history=[["你好，请问这是什么？", "这是一个例子。"]])]
    )
    assert numbers["characters"] == 6 + 5 + 17
    assert numbers["languages"] == {"zh": 1}
    assert numbers["chinese_share"] == {"mean": round(18 / 28, 4), "rows_below_half": 0}


def test_the_picture_draws_what_was_counted() -> None:
    numbers = describe(RECORDS)
    drawn = picture('<my> & "set"', numbers)
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == '<my> & "set": 3 rows'
    assert "2 (66.7%)" in texts
    assert "latin" in texts
    bars = [float(e.attrib["width"]) for e in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == sum(len(classes) for classes in numbers["histogram"].values()) + 2
    assert max(bars) <= 410
    assert "0 rows" in picture("empty", describe([]))


def test_long_texts_cost_no_memory() -> None:
    tracemalloc.start()
    numbers = describe(Record(f"{n}", output="字" * 20_000) for n in range(200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers["characters"] > 4_000_000
    assert peak < 2_000_000
