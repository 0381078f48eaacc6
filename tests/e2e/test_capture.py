"""`distill capture` and training from what it wrote: the same losses as beside the teacher, nothing lost by a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_gen.records import Record, write_records
from distill.across import ACROSS, on_sets
from distill.cli import main
from distill.signal_keys import record_keys
from distill.stored import StoredSignals
from teachers.panda import PandaTeacher
from teachers.signal_store import SignalStore
from tests import captured
from tests.captured import LINES, RECORDS, TERMS, batch_of, distiller, losses, made

ground = captured.ground

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

        def placed_only(*given: Any) -> Any:
            targets = on_sets(*given)
            targets.total = targets.total - targets.tail
            targets.tail = torch.zeros_like(targets.tail)
            return targets

        monkeypatch.setitem(ACROSS, "forward_kl", placed_only)
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
