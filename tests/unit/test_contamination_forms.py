"""Evaluation sets as they are published, C3, OCNLI and CMRC2018: what pCLUE holds of them is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.contamination import Contamination
from data_gen.mixes import build_mix
from data_gen.records import DataError, Record, read_records, write_records

DIALOGUE = ["男：你昨天怎么没来参加同学聚会啊？", "女：我去机场接一个老朋友了，飞机晚点两个小时。"]
ASKED = [
    {"question": "女的昨天去哪儿了?", "choice": ["同学家", "飞机场", "火车站"], "answer": "飞机场"},
    {"question": "关于那位老朋友乘坐的飞机，可以知道什么?", "choice": ["很贵", "晚点了"], "answer": "晚点了"},
]
MONOLOGUE = ["梅兰芳是中国著名的京剧演员，有一次一位老人说他演得不好。"]
C3: Any = [
    [DIALOGUE, ASKED, "1-1"],
    [MONOLOGUE, [{"question": "他是谁?", "choice": ["演员"], "answer": "演员"}], "m-2"],
]
OCNLI: Any = [
    {"level": "easy", "sentence1": "身上裹一件工厂发的棉大衣,手插在袖筒里", "sentence2": "有衣服", "label": "neutral"},
    {"level": "hard", "sentence1": "对不对", "sentence2": "昨天来我们单位开会的那位姓王的教授", "label": "neutral"},
]  # fmt: skip
CMRC: Any = {
    "version": "v1.0",
    "data": [
        {
            "id": "DEV_0",
            "title": "战国无双3",
            "paragraphs": [
                {
                    "id": "DEV_0",
                    "context": "《战国无双3》是由光荣和ω-force开发的战国无双系列的正统第三续作。",
                    "qas": [
                        {
                            "question": "该作是由哪两家公司共同开发的系列作品？",
                            "id": "Q0",
                            "answers": [{"text": "光荣"}],
                        },
                        {"question": "何时？", "id": "Q1", "answers": []},
                    ],
                }
            ],
        },
        {
            "id": "DEV_1",
            "title": "锣鼓经",
            "paragraphs": [
                {"context": "锣鼓经是大陆传统器乐及戏曲里面常用的打击乐记谱方法。", "qas": [{"question": "是什么？"}]}
            ],
        },
    ],
}

FILES: dict[str, Any] = {
    "c3-m-dev.json": json.dumps(C3, ensure_ascii=False, indent=1),
    "c3-line.json": json.dumps(C3, ensure_ascii=False),
    "ocnli.dev.json": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in OCNLI),
    "cmrc2018_dev.json": json.dumps(CMRC, ensure_ascii=False),
    "cmrc-indented.json": json.dumps(CMRC, ensure_ascii=False, indent=2),
}
CONTAINED: list[tuple[str, str, int]] = [
    ("c3", "阅读对话：\n男：你昨天怎么没来参加同学聚会啊？\n女：我去机场接一个老朋友了", 1),
    ("c3", "问题：关于那位老朋友乘坐的飞机，可以知道什么？", 1),
    ("c3", "文章：有一次一位老人说他演得不好……", 2),
    ("ocnli", "前提：身上裹一件工厂发的棉大衣，手插在袖筒里\n假设：随便", 1),
    ("ocnli", "前提：另一句\n假设：昨天来我们单位开会的那位姓王的教授", 2),
    ("cmrc", "由光荣和ω-force开发的战国无双系列", 1),
    ("cmrc", "问：该作是由哪两家公司共同开发的系列作品？", 1),
    ("cmrc", "锣鼓经是大陆传统器乐及戏曲里面的一种", 2),
]


@pytest.fixture(autouse=True)
def evaluation_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_what_the_sets_ask_is_found(name: str) -> None:
    found = Contamination([name])
    for of, text, item in CONTAINED:
        hit = found.hit(Record(f"根据材料回答。{text}", output="答"))
        if name.startswith(of):
            assert hit is not None, text
            assert (hit.file, hit.row) == (name, item), text
        else:
            assert hit is None, text
    assert found.hit(Record("写一篇关于战国无双3的文章", output="锣鼓经")) is None  # titles ask nothing


def test_a_mix_without_what_pclue_took_from_them() -> None:
    rows = [Record("阅读对话回答问题。", input=text, output="答") for _, text, _ in CONTAINED]
    write_records("a.jsonl", [*rows, Record("天空为什么是蓝色的？", output="散射。")])
    evaluation = ["c3-m-dev.json", "ocnli.dev.json", "cmrc2018_dev.json"]
    Path("mix.yaml").write_text(
        yaml.safe_dump({"name": "m", "sources": {"./a.jsonl": "all"}, "decontaminate": evaluation})
    )
    manifest = build_mix("mix.yaml", "out.jsonl")
    assert [record.output for record in read_records("out.jsonl")] == ["散射。"]
    assert manifest["decontamination"]["by_file"] == {"c3-m-dev.json": 3, "ocnli.dev.json": 2, "cmrc2018_dev.json": 3}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[[1, 2]]", "found list"),
        ('[["甲"], []]', "found list"),
        ('[[["甲"], [], "1"]]', "found list"),
        ('[[["甲"], [{"choice": ["乙"]}], "1"]]', "found choice"),
        ('{"version": "v1.0", "data": []}', "found version, data"),
        ('{"data": [{"paragraphs": [{"context": "甲", "qas": [{"id": "1"}]}]}]}', "found id"),
        ('{"data": [{"paragraphs": [{"text": "甲"}]}]}', "found text"),
        ('{"premise": "甲", "hypothesis": "乙"}', "found premise, hypothesis"),
    ],
)
def test_other_forms_are_told_apart(text: str, found: str) -> None:
    Path("odd.json").write_text(text, encoding="utf-8")
    said = r"odd.json, line \d+: an evaluation item has one of question, .*, or the form of C3 or CMRC2018; "
    with pytest.raises(DataError, match=said + found):
        Contamination(["odd.json"])


def test_a_question_beside_data_of_its_own() -> None:
    row = {"question": "下面的表格里哪一行的数字最大呢？", "data": [{"a": 1}]}
    Path("table.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert Contamination(["table.jsonl"]).hit(Record("问", output="下面的表格里哪一行的数字最大")) is not None
