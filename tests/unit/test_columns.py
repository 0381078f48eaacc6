"""Files whose columns nobody knows: the message names them and an option that may be copied, and that then works."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from data_gen.columns import parse_columns, proposed
from data_gen.records import DataError, read_records
from distill.cli import main
from tests import samples

in_empty_folder = samples.in_empty_folder

PROPOSED: list[tuple[dict[str, Any], str]] = [
    ({"question": "问", "answer": "答"}, "instruction=question,output=answer"),
    ({"answer": "答", "question": "问"}, "instruction=question,output=answer"),
    ({"prompt": "问", "response": "答", "score": 3}, "instruction=prompt,output=response"),
    ({"prompt": "问", "chosen": "答", "rejected": "错"}, "instruction=prompt,output=chosen"),
    ({"id": "1", "context": "文", "question": "问", "answers": {"text": ["答"], "answer_start": [3]}},
     "instruction=question,input=context,output=answers.text.0"),
    ({"问题": "问", "答案": "答"}, "instruction=问题,output=答案"),
    ({"用户的提问": "问", "模型回复": "答"}, "instruction=用户的提问,output=模型回复"),
    ({"User Query": "问", "Bot Reply (zh)": "答"}, "instruction=User Query,output=Bot Reply (zh)"),
    ({"q, en": "问", "a=b": "答"}, "instruction=q, en,output=a=b"),
    ({"qa": {"q": "问", "a": ["答"]}}, "instruction=qa.q,output=qa.a.0"),
    ({"system": "你是猫", "query": "问", "content": "答"}, "instruction=query,output=content,system=system"),
    ({"甲": "问", "乙": "答", "丙": "x"}, "instruction=甲,output=乙"),
    ({"question": "问", "number": 3}, "output=question"),
    ({"text": "文"}, "output=text"),
    ({"y": "问", "no": "答"}, "instruction=y,output=no"),
    ({"context": "文"}, "output=context"),
    ({"question": "问", "context": "答"}, "instruction=question,output=context"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "option"), PROPOSED, ids=[option for _, option in PROPOSED])
def test_the_option_of_the_message_works(row: dict[str, Any], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    command = ["sample", "./in.jsonl", "--convert", "-o", "out.jsonl"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert ", ".join(row) in said
    words = shlex.split(said[said.index("--columns") :])  # as a shell reads what is pasted
    assert words == ["--columns", option]
    assert main([*command, *words]) == 0
    (made,) = read_records("out.jsonl")
    assert (made.instruction, made.output) == ("问", "答") if "instruction" in option else made.output in ("问", "文")
    assert parse_columns(option) == proposed(row)
    Path("mix.yaml").write_text("name: m\nsources: {./in.jsonl: all}\n", encoding="utf-8")
    assert main(["sample", "--mix", "mix.yaml", "-o", "mix.jsonl"]) == 2
    (columns,) = re.findall(r"\(in a recipe (columns: .*)\), as in", capsys.readouterr().err)
    recipe = f"name: m\ndrop_empty: false\nsources: {{./in.jsonl: {{rows: all, {columns}}}}}\n"
    Path("mix.yaml").write_text(recipe, encoding="utf-8")
    assert main(["sample", "--mix", "mix.yaml", "-o", "mix.jsonl"]) == 0
    assert [*read_records("mix.jsonl")] == [made]


def test_of_a_table_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("in.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["q, en", "回答"], ["问", "答"]])
    command = ["datasets", "add", "./in.csv", "--id", "mine"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert main([*command, *shlex.split(said[said.index("--columns") :])]) == 0
    assert main(["datasets", "check", "mine"]) == 0


def test_a_list_of_rows_inside_of_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my set.json").write_text(json.dumps({"version": "1", "data": [{"title": "问", "answer": "答"}]}, indent=1))
    assert main(["sample", "./my set.json", "--convert", "-o", "out.jsonl"]) == 2
    said = capsys.readouterr().err
    assert "no known form: version, data; where the rows are the list 'data', say so: distill datasets add" in said
    assert main(shlex.split(said[said.index("datasets add") :])) == 0
    assert main(["sample", "my-set", "--convert", "-o", "out.jsonl"]) == 0
    assert [record.output for record in read_records("out.jsonl")] == ["答"]


def test_other_separators_and_many_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.csv").write_text("question;answer\n问;答\n")
    assert main(["sample", "./in.csv", "--convert", "-o", "out.jsonl"]) == 2
    assert "cells are separated by commas (.csv) or tabs (.tsv), not ';'" in capsys.readouterr().err
    Path("in.csv").write_text("question;answer\n问;一,二\n")  # a comma of the text is no separator
    assert main(["sample", "./in.csv", "-o", "out.jsonl"]) == 2
    assert "in.csv, line 1: one column, 'question;answer': cells are separated by" in capsys.readouterr().err
    Path("in.txt").write_text("question\tanswer\n问\t答\n")
    assert main(["sample", "./in.txt", "--convert", "-o", "out.jsonl"]) == 2
    assert "there are tabs in these lines: call the file .tsv" in capsys.readouterr().err
    Path("many.jsonl").write_text(json.dumps({f"c{n}": n for n in range(60)}) + "\n")
    assert main(["sample", "./many.jsonl", "--convert", "-o", "out.jsonl"]) == 2
    assert "c11 and 48 more; say which is which (" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["instruction=题目，output=答案", "instruction=题目 output=答案"])
def test_another_comma_is_told(columns: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.csv").write_text("题目,答案\n问,答\n", encoding="utf-8")
    assert main(["sample", "./in.csv", "--columns", columns, "-o", "out.jsonl"]) == 2
    assert f"--columns: {columns} is one column; between two there is a comma: , and not ，" in capsys.readouterr().err


def test_what_is_proposed_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    """Names with spaces are one word; a manifest or a recipe taken for a data set is told what it is for."""
    samples.write("known.jsonl")
    Path("导出 一.csv").write_text("instruction,output\n问,答\n", encoding="utf-8")
    Path("混 合.yaml").write_text("name: m\nsources: {./known.jsonl: all}\n", encoding="utf-8")

    def proposed(*command: str) -> list[str]:
        assert main([*command]) == 2
        return shlex.split(capsys.readouterr().err.split("distill ")[-1])

    assert (
        main(proposed("generate", "--strategy=answer", "--teacher=scripted", "--instructions=导出 一.csv", "-o=x")) == 0
    )
    assert [record.output for record in read_records("导出 一.jsonl")] == ["答"]
    Path("表.xlsx").write_bytes(b"PK")
    assert main(["sample", "表.xlsx", "-o", "out.jsonl"]) == 2
    assert "distill: 表.xlsx is a spreadsheet" in capsys.readouterr().err
    assert main(proposed("sample", "混 合.yaml", "-o", "all.jsonl")) == 0
    assert main(proposed("datasets", "card", "OUT.jsonl")) == 0
    assert "# m\n" in capsys.readouterr().out


def test_inputs_of_unlike_columns(capsys: pytest.CaptureFixture[str]) -> None:
    samples.write("known.jsonl")
    Path("odd.jsonl").write_text('{"q": "问", "a": "答"}\n')
    command = ["sample", "./odd.jsonl", "./known.jsonl", "-o", "out.jsonl"]
    assert main([*command, "--columns", "instruction=q,output=a"]) == 2
    said = capsys.readouterr().err
    assert "--columns holds for all inputs, and ./known.jsonl has no column 'q'; 'distill datasets add ./known" in said
    assert main(["datasets", "add", "./odd.jsonl", "--id", "odd", "--columns", "instruction=q,output=a"]) == 0
    assert main(["sample", "odd", "./known.jsonl", "-o", "out.jsonl"]) == 0
    samples.write("too.jsonl", [{"q": "问", "a": "答"}] * 3)
    assert main([*command[:2], "./too.jsonl", "--columns", "instruction=q,output=a", "-o", "both.jsonl"]) == 0


def test_a_mix_says_it_in_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--mix", "demo", "--columns", "instruction=问题,output=答案", "-o", "out.jsonl"]) == 2
    assert "in a mix's recipe, not beside --mix, as in './my.csv: {rows: all, columns: {" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["title", "instruction=", "=x", "instruction=a,output="])
def test_what_is_no_mapping(text: str) -> None:
    with pytest.raises(DataError, match="must look like instruction=title,input=desc,output=answer"):
        parse_columns(text)
