"""`distill capture --journal`: the probabilities that an endpoint told, moved to the student."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from data_gen.records import Record, write_records
from distill.cli import main
from distill.data import InstructionData
from distill.signal_keys import record_keys
from distill.stored import StoredSignals
from students.load_tokenizers import load_tokenizer
from teachers.signal_store import SignalStore
from tests import captured
from tests.captured import TERMS, distiller, losses

ground = captured.ground

TOLD: dict[str, tuple[str, list[tuple[str, dict[Any, float]]]]] = {
    "a": ("小猫喝绿茶", [("小猫", {"小猫": 0.5, "小": 0.2, "老师": 0.1, "</s>": 0.1}), ("喝", {"喝": 0.9, 0xE5: 0.05}),
                        ("绿", {"绿": 0.6, "红": 0.2}), ("茶", {"茶": 0.7})]),
    "b": ("好。", [("好", {"好": 0.5, "好人": 0.25}), ("。", {"。": 0.5})]),
}  # fmt: skip


def journal(folder: Path) -> tuple[Path, list[Record]]:
    """What an endpoint told: the first answer's first token is longer than any of the student's."""
    lines = []
    for key, (text, positions) in TOLD.items():
        told = [
            [said, math.log(next(iter(named.values()))), [
                [[token] if isinstance(token, int) else token, math.log(p)] for token, p in named.items()
            ]]
            for said, named in positions
        ]  # fmt: skip
        lines.append({"key": key, "name": key, "text": text, "logprobs": told})
    path = folder / "out.jsonl.journal"
    path.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
    records = [Record("问", output=text, meta={"prompt_hash": key, "model": "gpt"}) for key, (text, _) in TOLD.items()]
    records.append(Record("别的", output="没有", meta={"prompt_hash": "c"}))
    records.append(Record("改了", output="小狗", meta={"prompt_hash": "a"}))
    write_records(folder / "out.jsonl", records)
    return path, records


def test_an_endpoints_probabilities(ground: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Masses by hand for a student that cuts character by character: named tokens give theirs to their first
    character, inside a longer one what was said already conditions, what was not named is the tail."""
    path, records = journal(tmp_path)
    argv = ["capture", str(tmp_path / "out.jsonl"), "--journal", str(path), "--student", str(ground / "wp"),
            "-o", str(tmp_path / "s")]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "s: 2 records" in said
    assert "1 records left out: the journal has no probabilities" in said
    assert "1 records left out: they do not say what the endpoint said" in said
    store, tokenizer = SignalStore(tmp_path / "s"), load_tokenizer(ground / "wp")
    assert (store.manifest.teacher, store.manifest.moved) == ("gpt", True)
    entry = tokenizer.convert_tokens_to_ids
    order = store.sets()[0]
    place = store.find(record_keys(records[:1]))
    count = store.about(place)[0].tolist()
    assert count == [len(tokenizer("小猫喝绿茶", add_special_tokens=False)["input_ids"]) + 1]
    found = store.read(place.tolist(), count)
    sets = iter(found.sets.tolist())
    rows: list[dict[int | frozenset[int], float]] = [{} for _ in range(count[0])]
    for at, n, mass in zip(np.repeat(np.arange(count[0]), found.entries), found.ids, found.mass, strict=True):
        low, high, extra = next(sets) if n < 0 else (0, 0, int(n))
        members = frozenset({int(u) for u in order[low:high]} | ({extra} - {-1}))
        rows[at][next(iter(members)) if len(members) == 1 else members] = float(mass)
    first = rows[0]
    assert first[entry("老")] == pytest.approx(0.1, abs=1e-3)
    assert first[entry("[SEP]")] == pytest.approx(0.1, abs=1e-3)
    assert sum(mass for name, mass in first.items() if entry("小") in ([name] if isinstance(name, int) else name)) == (
        pytest.approx(0.7, abs=1e-3)
    )
    assert found.tail[0] == pytest.approx(0.1, abs=1e-3)
    assert rows[1] == {entry("猫"): pytest.approx(1.0, abs=1e-3)}  # inside 小猫 nothing else was named
    assert rows[3][entry("绿")] == pytest.approx(0.6, abs=1e-3)
    assert found.tail[3] == pytest.approx(0.2, abs=1e-3)
    assert rows[-1] == {}  # endpoints do not tell the end
    model = distiller(ground, "wp", TERMS, signals=StoredSignals(str(tmp_path / "s"), missing=True))
    data = InstructionData(str(tmp_path / "out.jsonl"))
    data.trainer = SimpleNamespace(lightning_module=model)  # type: ignore[assignment]
    data.setup("fit")
    model.signals.bind(data)  # type: ignore[union-attr]
    values, slope = losses(model, data.rows["train"][[0, 1, 2], 1.0])
    assert (values > 0).all()
    assert torch.isfinite(slope).all()


def test_a_journal_without_probabilities(ground: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "j").write_bytes(b'{"key": "k", "text": "x"}\n')
    argv = ["capture", str(ground / "train.jsonl"), "--student", str(ground / "wp"), "-o", str(tmp_path / "s")]
    assert main([*argv, "--journal", str(tmp_path / "j")]) == 2
    assert "holds no probabilities; ask for them with 'distill generate --logprobs 20'" in capsys.readouterr().err
    assert main([*argv, "--journal", str(tmp_path / "nowhere")]) == 2
    assert "no journal" in capsys.readouterr().err
    assert main([*argv, "--journal", str(journal(tmp_path)[0])]) == 2
    assert "has the probabilities of none of the records" in capsys.readouterr().err
