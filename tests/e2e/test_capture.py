"""`distill capture` and training from what it wrote: the same losses as beside the teacher, nothing lost by a kill,
and a store of anything else refused in one sentence."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from data_gen.records import Record, write_records
from distill.batches import Batch
from distill.capture import Settings, capture
from distill.cli import main
from distill.data import InstructionData
from distill.losses import LossTerm
from distill.module import Distiller
from distill.signal_keys import record_keys
from distill.stored import StoredSignals
from students.tokenizers import load_tokenizer
from teachers.panda import PandaTeacher
from teachers.signal_store import SignalStore
from tests import tiny

LINES = [*tiny.sentences()[:24], "Large language models", "好。", "😀中a"]
RECORDS = [Record(f"第{n}句", output=text) for n, text in enumerate(LINES)]
RECORDS.append(Record("再说", "材料", "好的，小猫。", history=[["谁？", "小猫"]]))
TERMS = [LossTerm("ce", 0.3), LossTerm("forward_kl", 0.7)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, tokenizers of its own and of another family, records."""
    folder = tmp_path_factory.mktemp("capture")
    tiny.tiny_llama(folder / "llama", tiny.sentencepiece_like(folder / "sp"))
    tiny.tiny_llama(folder / "other", folder / "sp", seed=1)
    tiny.wordpiece(folder / "wp")
    write_records(folder / "train.jsonl", RECORDS)
    return folder


def distiller(ground: Path, tokenizer: str, terms: list[LossTerm], **more: Any) -> Distiller:
    return Distiller(
        {"preset": "tiny", "n_layer": 1, "n_embd": 16, "n_head": 2}, str(ground / tokenizer), losses=terms, **more
    )


def batch_of(model: Distiller, ground: Path, rows: list[int], **options: Any) -> Batch:
    """Those rows as the data module gives them, with the signals found."""
    data = InstructionData(str(ground / "train.jsonl"), **options)
    data.trainer = SimpleNamespace(lightning_module=model)  # type: ignore[assignment]
    data.setup("fit")
    if model.signals is not None:
        model.signals.bind(data)
    return data.rows["train"][rows, 1.0]


def losses(model: Distiller, batch: Batch, terms: list[LossTerm] = TERMS) -> tuple[torch.Tensor, torch.Tensor]:
    """Each term's sum, and the gradient of the weighted sum in the output embedding."""
    hidden, _ = model.student_hidden(batch)
    model.zero_grad()
    total, values = model.head_losses(terms, hidden, model.teacher_signals(batch), batch)
    total.backward()
    return values, model.student.get_output_embeddings().weight.grad.clone()


def made(ground: Path, name: str, student: str | None = None, records: list[Record] = RECORDS, **settings: Any) -> Path:
    capture(
        records, PandaTeacher(str(ground / "llama")), ground / name, Settings(**settings),
        load_tokenizer(ground / student) if student else None, ["train.jsonl"],
    )  # fmt: skip
    return ground / name


ROWS = [3, 27, 26, 0, 25]


@pytest.mark.parametrize(("student", "moved"), [("sp", False), ("wp", True)])
def test_nothing_cut_is_the_loss_beside_the_teacher(student: str, moved: bool, ground: Path) -> None:
    """Every entry, or every set that the move gives, kept to 16 bits; other rows of a batch than at the capture."""
    store = made(ground, f"whole_{student}", student, method="topk", size=2000)
    live = distiller(ground, student, TERMS, teacher=PandaTeacher(str(ground / "llama")))
    stored = distiller(ground, student, TERMS, signals=StoredSignals(str(store)))
    assert (stored.signals.tables is not None) is moved  # type: ignore[union-attr]
    (values, slope), (ours, our_slope) = losses(live, batch_of(live, ground, ROWS)), losses(
        stored, batch_of(stored, ground, ROWS)
    )  # fmt: skip
    torch.testing.assert_close(ours, values, rtol=2e-3, atol=1e-3)
    assert float((our_slope - slope).norm() / slope.norm()) < 2e-3


@pytest.mark.parametrize("student", ["sp", "wp"])
def test_draws_are_the_loss_beside_the_teacher_on_average(
    student: str, ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean gradient over many captures is the live one within its standard error.

    Moved, what has no place on the student's side is left out of the draws; so it is of the live loss here.
    """
    live = distiller(ground, student, TERMS, teacher=PandaTeacher(str(ground / "llama")))
    few = [RECORDS[r] for r in ROWS[:3]]
    if live.tutors[0].aligner is not None:
        live.tutors[0].aligner.floor = 0.0
        inner: Any = live.tutors[0].targets

        def placed_only(*given: Any) -> Any:
            targets = inner(*given)
            targets.total = targets.total - targets.tail
            targets.tail = torch.zeros_like(targets.tail)
            return targets

        monkeypatch.setattr(live.tutors[0], "targets", placed_only)
    value, expected = losses(live, batch_of(live, ground, ROWS[:3]))
    found, values = [], []
    for seed in range(24):
        store = made(ground, f"draws_{student}_{seed}", student, few, seed=seed, size=30)
        stored = distiller(ground, student, TERMS, signals=StoredSignals(str(store), missing=True))
        got, slope = losses(stored, batch_of(stored, ground, ROWS[:3]))
        values.append(got)
        found.append(slope)
    assert float((torch.stack(values).mean(0) / value - 1).abs().max()) < 0.03
    slopes = torch.stack(found)
    error = slopes.std(0) / len(found) ** 0.5
    off = ((slopes.mean(0) - expected).abs() / error)[error > 1e-5]
    assert len(off) > 1000
    assert float(off.mean()) < 1.0  # 0.8 is expected
    assert float((off > 3).float().mean()) < 0.02
    one = (found[0] - expected).norm() / expected.norm()
    assert float((slopes.mean(0) - expected).norm() / expected.norm()) < 0.5 * float(one)


def test_a_shorter_maximum_length_uses_the_beginning(ground: Path) -> None:
    store = made(ground, "long", method="topk", size=8, max_length=64)
    model = distiller(ground, "sp", TERMS, signals=StoredSignals(str(store)))
    batch = batch_of(model, ground, [0, 1], max_length=24)
    stored: Any = model.teacher_signals(batch)
    assert stored.signals.entries.sum() == 8 * len(batch.student.labels)
    short = made(ground, "short", method="topk", size=8, max_length=20)
    model = distiller(ground, "sp", TERMS, signals=StoredSignals(str(short)))
    with pytest.raises(ValueError, match=r"captured with rows cut at 20 tokens; lower data\.max_length"):
        batch_of(model, ground, [0])


REFUSED = [
    ({}, {"tokenizer": "wp"}, {}, "for a tokenizer with other entries"),
    ({}, {}, {"template": "alpaca"}, "data.template is 'alpaca', the signals in .* were captured with 'qa'"),
    ({}, {}, {"teacher_template": "chatml"}, "data.teacher_template is 'chatml'.* captured with 'qa'"),
    ({}, {}, {"question_share": 0.5}, "question_share goes without"),
    ({"teacher": "gpt"}, {}, {}, "are those of teacher 'llama', not 'gpt'"),
    ({}, {"terms": [LossTerm("alm")]}, {}, "'alm' is not linear"),
    ({}, {"terms": [LossTerm("jsd")]}, {}, "'jsd' is not linear .* capture with --method topk"),
    ({}, {"terms": [LossTerm("forward_kl", temperature=2.0)]}, {}, "captured at temperature 1, .* asks for 2"),
    ({}, {"terms": [LossTerm("forward_kl", confidence=True)]}, {}, "do not tell the teacher's confidence"),
]


@pytest.mark.parametrize(("options", "model", "data", "sentence"), REFUSED)
def test_what_differs_is_named(options: dict, model: dict, data: dict, sentence: str, ground: Path) -> None:
    store = ground / "plain"
    if not store.exists():
        made(ground, "plain")
    signals = StoredSignals(str(store), **options)
    with pytest.raises(ValueError, match=sentence):
        batch_of(
            distiller(ground, model.get("tokenizer", "sp"), model.get("terms", TERMS), signals=signals),
            ground, [0], **data,
        )  # fmt: skip


def test_moved_signals_are_for_one_loss(ground: Path) -> None:
    store = made(ground, "moved", "wp", method="topk", size=8)
    for name in ("jsd", "uld", "alm"):
        with pytest.raises(ValueError, match=f"loss '{name}' cannot be had from the signals in .*; use forward_kl"):
            distiller(ground, "wp", [LossTerm(name)], signals=StoredSignals(str(store)))


def test_rows_that_are_not_there(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other data, fewer rows, a lost shard: refused, or counted and learnt from their text."""
    store = made(ground, "some", records=RECORDS[:10])
    model = distiller(ground, "sp", TERMS, signals=StoredSignals(str(store)))
    with pytest.raises(ValueError, match=r"18 of 28 rows of data.train are not in .* \(other data\)"):
        batch_of(model, ground, [0])
    write_records(ground / "new.jsonl", [Record("新", output="新的。")])
    data = InstructionData(str(ground / "new.jsonl"))
    data.trainer = SimpleNamespace(lightning_module=model)  # type: ignore[assignment]
    data.setup("fit")
    with pytest.raises(ValueError, match=r"none of the 1 rows .* captured from other data: train\.jsonl"):
        model.signals.bind(data)  # type: ignore[union-attr]
    model = distiller(ground, "sp", TERMS, signals=StoredSignals(str(store), missing=True))
    values, _ = losses(model, batch_of(model, ground, [20, 21]))
    assert values[0] > 0
    assert values[1] == 0
    assert "18 of 28 rows have no signals" in capsys.readouterr().err
    next(store.glob("shard-*")).unlink()
    model = distiller(ground, "sp", TERMS, signals=StoredSignals(str(store)))
    with pytest.raises(ValueError, match="none of the 28 rows"):
        batch_of(model, ground, [0])


def test_the_verb_and_a_fit(ground: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By the command: capture, once more, with other settings, train; a teacher beside signals is refused."""
    argv = ["capture", str(ground / "train.jsonl"), "--teacher", str(ground / "llama"), "--student", str(ground / "wp"),
            "-o", str(tmp_path / "s")]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "28 records" in said
    assert "bytes a token" in said
    assert main(argv) == 0
    assert "all were there" in capsys.readouterr().out
    assert main([*argv, "--temperature", "2"]) == 2
    assert "holds other signals: temperature (1.0, not 2.0)" in capsys.readouterr().err
    assert main([*argv[:3], str(ground / "other"), *argv[4:]]) == 2
    assert "teacher (llama, not other); teacher_weights" in capsys.readouterr().err
    assert main([*argv, "--limit", "5"]) == 2
    assert "data (" in capsys.readouterr().err
    fit = [
        "fit", "--model.student", "tiny", "--model.tokenizer", str(ground / "wp"),
        "--model.signals.path", str(tmp_path / "s"), "--data.train", str(ground / "train.jsonl"),
        "--data.batch_size", "8", "--trainer.max_steps", "2", "--trainer.default_root_dir", str(tmp_path / "run"),
        "--model.losses+={name: ce, weight: 0.3}", "--model.losses+={name: forward_kl, weight: 0.7}",
    ]  # fmt: skip
    assert main(fit) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "student" / "model.safetensors").is_file()
    both = [*fit, "--model.teacher", "teachers.panda.PandaTeacher", "--trainer.default_root_dir", str(tmp_path / "two")]
    assert main(both) == 2
    assert "model.teacher or model.signals, not both" in capsys.readouterr().err


WRONG = [
    ([], "name the records"),
    (["{train}"], "-o is needed"),
    (["{train}", "-o", "{out}", "--method", "all"], "invalid choice: 'all'"),
    (["{train}", "-o", "{out}", "--size", "0"], "0 entries a token cannot be"),
    (["{train}", "-o", "{out}", "--temperature", "0"], "the temperature is above 0"),
    (["{train}", "-o", "{out}", "--template", "qaa"], "unknown template 'qaa'"),
    (["{train}", "-o", "{out}", "--teacher", "nowhere"], "nowhere"),
    (["{train}", "-o", "{out}", "--max-length", "4"], "no record has an answer within 4 tokens"),
    (["nowhere.jsonl", "-o", "{out}"], "no file nowhere.jsonl"),
    (["{train}", "-o", "{train}"], "exists"),
    (["{train}", "-o", "{out}", "--journal", "j"], "--journal needs --student"),
    (["{train}", "-o", "{out}", "--journal", "j", "--teacher", "embedded"], "leave out --teacher"),
]


@pytest.mark.parametrize(("argv", "sentence"), WRONG)
def test_wrong_input(argv: list[str], sentence: str, ground: Path, tmp_path: Path, capsys: Any) -> None:
    here = {"train": ground / "train.jsonl", "out": tmp_path / "out"}
    try:
        code = main(["capture", *(arg.format(**here) for arg in argv)])
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr().err
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said


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


def test_a_teacher_that_is_no_numbers(ground: Path) -> None:
    teacher = PandaTeacher(str(ground / "llama"))
    teacher.model.lm_head.weight.data[5] = float("nan")
    with pytest.raises(ValueError, match="logits are not finite"):
        capture(RECORDS, teacher, ground / "nan", Settings())
    assert not list((ground / "nan").glob("shard-*"))


def test_kill_and_go_on(ground: Path, tmp_path: Path) -> None:
    """kill -9 in the middle; the same command goes on, and what it ends with is what one run writes."""
    records = [Record(f"{n}", output=LINES[n % 20] + str(n)) for n in range(120)]
    write_records(tmp_path / "many.jsonl", records)
    code = (
        "import sys, time\n"
        "from distill import capture; capture.FLUSH_S = 0.0\n"
        "from distill.capture import Run; batch = Run.batch\n"
        "Run.batch = lambda *a: (time.sleep(0.1), batch(*a))[1]\n"
        "from distill.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    argv = ["capture", str(tmp_path / "many.jsonl"), "--teacher", str(ground / "llama"), "--batch-size", "4"]
    child = subprocess.Popen(
        [sys.executable, "-c", code, *argv, "-o", str(tmp_path / "killed")], stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 200
    while len(list((tmp_path / "killed").glob("shard-*.safetensors"))) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    left = len(SignalStore(tmp_path / "killed"))
    assert 0 < left < 120
    assert main([*argv, "-o", str(tmp_path / "killed")]) == 0
    assert main([*argv, "-o", str(tmp_path / "whole")]) == 0
    a, b = SignalStore(tmp_path / "killed"), SignalStore(tmp_path / "whole")
    assert (len(a), a.missing(), a.tokens) == (120, 0, b.tokens)
    keys = record_keys(records)
    counts = a.about(a.find(keys))[0].tolist()
    one, two = a.read(a.find(keys).tolist(), counts), b.read(b.find(keys).tolist(), counts)
    same = np.mean(one.entries == two.entries)
    assert same > 0.99, "the draws depend on the record, not on its batch; rounding may move one in thousands"
