"""A store of anything else, rows that are not there and wrong options are refused, each in one sentence."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_gen.records import Record, write_records
from distill.capture import capture
from distill.capture_data import Settings
from distill.cli import main
from distill.data import InstructionData
from distill.losses import LossTerm
from distill.stored import StoredSignals
from teachers.panda import PandaTeacher
from tests import captured
from tests.captured import RECORDS, TERMS, batch_of, distiller, losses, made

ground = captured.ground

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


def test_a_class_with_a_dot(ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As a recipe has it."""
    monkeypatch.chdir(ground)
    Path("own_teacher.py").touch()
    assert main(["capture", "train.jsonl", "--teacher", "own_teacher.Mine", "-o", "no"]) == 2
    assert "a class of yours is named with a colon here, own_teacher:Mine" in capsys.readouterr().err


def test_a_template_of_ones_own_is_known_by_its_fields(ground: Path) -> None:
    """On both sides of the capture; the file may be elsewhere later."""
    own = ground / "own.yaml"
    own.write_text('user: "用户：{q}\\n助手："\n', encoding="utf-8")
    store = made(ground, "own", template=str(own), teacher_template=str(own))
    model = distiller(ground, "sp", TERMS, signals=StoredSignals(str(store)))
    assert batch_of(model, ground, [0], template=str(own), teacher_template=str(own))
    own.write_text('user: "{q}\\n"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"data.template is 'own', the signals in .* with 'own' with other fields"):
        batch_of(model, ground, [0], template=str(own))
    with pytest.raises(ValueError, match=r"data.template is 'qa', the signals in .* with 'own'$"):
        batch_of(model, ground, [0])


def test_a_teacher_of_the_same_name_is_known_by_its_weights(ground: Path) -> None:
    store = ground / "plain"
    if not store.exists():
        made(ground, "plain")
    assert distiller(ground, "sp", TERMS, signals=StoredSignals(str(store), teacher=str(ground / "llama"))).signals
    with pytest.raises(ValueError, match=r"those of 'llama' with other weights than .*other has: capture them again"):
        distiller(ground, "sp", TERMS, signals=StoredSignals(str(store), teacher=str(ground / "other")))


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
    (["{train}", "-o", "{out}", "--model", "x"], "name a model's folder with --teacher itself"),
    (["{train}", "-o", "{out}", "--teacher", "pathlib:Path"], "is no teacher of signals: it has no tokenizer"),
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


def test_a_teacher_that_is_no_numbers(ground: Path) -> None:
    teacher = PandaTeacher(str(ground / "llama"))
    teacher.model.lm_head.weight.data[5] = float("nan")
    with pytest.raises(ValueError, match="logits are not finite"):
        capture(RECORDS, teacher, ground / "nan", Settings())
    assert not list((ground / "nan").glob("shard-*"))


OWN = """
class Own:
    def __init__(self, path, device="auto", dtype="auto"):
        from teachers.base import TeacherError
        raise TeacherError(f"asked for {path} on {device} in {dtype}")
"""


def test_a_class_of_ones_own_hears_of_the_options(
    ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """And what else lies beside the data hides no library that is imported later."""
    (tmp_path / "own_teacher.py").write_text(OWN)
    (tmp_path / "yaml.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [place for place in sys.path if place])
    argv = ["capture", str(ground / "train.jsonl"), "-o", "out", "--teacher", "own_teacher:Own"]
    assert main([*argv, "--model", "mine", "--device", "cpu", "--dtype", "fp32"]) == 2
    assert "asked for mine on cpu in fp32" in capsys.readouterr().err
    assert main(argv) == 2
    assert "teacher of signals 'own_teacher:Own' needs --model" in capsys.readouterr().err
    found = PathFinder.find_spec("yaml")
    assert found is not None
    assert Path(str(found.origin)).parent != tmp_path
