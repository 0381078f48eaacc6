"""COIG at full size: 165,531 single-turn rows out of five files, 13,649 dialogs of 13,653, 179,180 together."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from data_gen.registry import load_registry, open_source
from data_gen.rows import Tally

BOX = dict.fromkeys(("textbox_q_instruction", "textbox_q_context", "textbox_answer_analysis", "subject"), "")
BOX |= {"textbox_question": "问", "textbox_answer": "答"}
ALPACA = {"instruction": "问", "input": "", "output": "答"}
TRANS = {"trans_instruction": "问", "trans_input": "", "trans_output": "答"}
LINES = {
    "exam_instructions.jsonl": (BOX, 63_532),
    "human_value_alignment_instructions_part2.json": (BOX, 19_464),
    "leetcode_instructions.jsonl": (ALPACA, 11_737),
    "translated_instructions.jsonl": (TRANS, 67_798),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("coig")
    (place / "coig").mkdir()
    for name, (row, n) in LINES.items():
        broken = '{"textbox_question": "半\n' * 6 if "part2" in name else ""
        (place / "coig" / name).write_text(broken + (json.dumps(row, ensure_ascii=False) + "\n") * n, encoding="utf-8")
    array = json.dumps([ALPACA] * 3_000, ensure_ascii=False)
    (place / "coig" / "human_value_alignment_instructions_part1.json").write_text(array, encoding="utf-8")
    (place / "coig-dialogs").mkdir()
    turn = {"prompt": "请提问", "response": json.dumps({"Q": "问", "A": "答"}, ensure_ascii=False)}
    dialog = json.dumps({"round_0": turn, "round_1": turn}, ensure_ascii=False, indent=4).encode()
    name = "counterfactural_correction_multi_round_chat"
    with tarfile.open(place / "coig-dialogs" / f"{name}.tar.gz", "w:gz", compresslevel=1) as archive:
        for n in range(13_653):
            content = dialog[:-40] if n in (1931, 3251, 5333, 13265) else dialog
            member = tarfile.TarInfo(f"{name}/{n}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return place


def test_single_turns(folder: Path) -> None:
    tally = Tally()
    records = open_source("coig", folder, tally=tally)
    assert sum(record.instruction == "问" and record.output == "答" for record in records) == 165_531
    assert 63_532 + 3_000 + 19_464 + 11_737 + 67_798 == 165_531 == load_registry()["coig"].rows
    assert tally.total == 6


def test_dialogs(folder: Path) -> None:
    tally = Tally()
    records = open_source("coig-dialogs", folder, tally=tally)
    assert sum(record.history == [["问", "答"]] for record in records) == 13_649
    assert (tally.total, 165_531 + 13_649) == (4, 179_180)
