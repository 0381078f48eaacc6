"""`distill tokenizer`: learnt from files of any kind, whole or not at all, and shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_gen.records import Record, write_records
from distill.cli import main
from students.folders import beside
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from tests import tiny

LINES = tiny.sentences()


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_records("train.jsonl", (Record(f"第{n}句", output=line) for n, line in enumerate(LINES[:100])))
    Path("notes.txt").write_text("\n".join(LINES[100:200]), encoding="utf-8")
    Path("my.csv").write_text("题目,答案\n犇羴鱻," + LINES[3] + "\n" + "问,答\n" * 20, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("family", "seen", "size"), [("wordpiece", "wordpiece", 300), ("byte-bpe", "byte_bpe", 400),
                                 ("sentencepiece", "sentencepiece", 500)],
)  # fmt: skip
def test_each_family(family: str, seen: str, size: int, ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records in the words of their template, and lines of text; the same again in another folder."""
    for folder in ("made/one", "two"):
        argv = ["tokenizer", "train", "train.jsonl", "notes.txt", "--family", family, "--size", str(size), "-o", folder]
        assert main(argv) == 0
    said = capsys.readouterr()
    tokenizer = load_tokenizer("two")
    assert f"two: {len(tokenizer):,} entries, {family}; " in said.out
    assert "read: 200 rows" in said.err
    assert len(tokenizer) <= size
    view = ByteView(tokenizer)
    assert view.family == seen
    assert view.eos_id is not None
    for text in ("问：第9句\n答：", LINES[9], LINES[150]):
        assert tokenizer.unk_token_id == tokenizer.eos_token_id or tokenizer.unk_token_id not in view.encode(text)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert Path("made/one", file).read_bytes() == Path("two", file).read_bytes()
    assert not list(ground.rglob("*.part"))


def test_columns_rows_and_case(ground: Path) -> None:
    """Only the rows and columns asked for; no capital letters."""
    Path("caps.jsonl").write_text('{"instruction": "HELLO", "output": "WORLD"}\n' * 3, encoding="utf-8")
    options = ["--columns", "instruction=题目,output=答案", "--rows", "1"]
    assert main(["tokenizer", "train", "my.csv", *options, "--template", "alpaca", "-o", "a"]) == 0
    entries = load_tokenizer("a").get_vocab()
    assert {"犇", "羴", "鱻", "Response"} <= entries.keys()
    assert "问" not in entries
    assert main(["tokenizer", "train", "caps.jsonl", "train.jsonl", "--lowercase", "-o", "b"]) == 0
    tokenizer = load_tokenizer("b")
    assert {"hello", "world"} <= tokenizer.get_vocab().keys()
    assert tokenizer.tokenize("Hello WORLD") == ["hello", "world"]


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("train none.jsonl -o new", "no file none.jsonl"),
        ("train curiculum -o new", "did you mean 'curriculum'"),
        ("train -o new", "name the data to learn from"),
        ("train train.jsonl", "-o is needed"),
        ("train train.jsonl -o old", "old exists; give another -o"),
        ("train train.jsonl -o train.jsonl/new", "train.jsonl exists and is no folder"),
        ("train train.jsonl --size 100 --family byte-bpe -o new", "byte-bpe needs at least 257"),
        ("train train.jsonl --rows 0 -o new", "--rows is at least 1"),
        ("train train.jsonl --template qaa -o new", "did you mean 'qa'"),
        ("train train.jsonl --lowercase --family byte-bpe -o new", "--lowercase goes with --family wordpiece"),
        ("train my.csv -o new", "say which is which"),
        ("train empty.txt -o new", "empty.txt"),
        ("train few.txt -o new", "so few different characters"),
        ("train broken.jsonl -o new", "broken.jsonl, line 2"),
        ("show", "name the tokenizer"),
        ("show none", "no tokenizer folder none"),
        ("show old", "old holds no tokenizer"),
    ],
)
def test_refused_in_a_sentence(command: str, names: str, ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made, nothing is overwritten."""
    Path("old").mkdir()
    Path("old/mine").write_text("x")
    Path("empty.txt").touch()
    Path("few.txt").write_text("啊啊啊\n")
    Path("broken.jsonl").write_text('{"instruction": "x", "output": "y"}\n{"instruction')
    before = sorted(ground.rglob("*"))
    assert main(["tokenizer", *command.split()]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert names in said[-1]
    assert said[-1].startswith("distill")
    assert sorted(ground.rglob("*")) == before


def test_stopped_it_leaves_nothing(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while rows are read; what a killed run has left is no hindrance."""
    left = beside(Path("new"))[0]
    left.mkdir()
    (left / "tokenizer.json").write_text("{")

    def stopped(*arguments: Any, **more: Any) -> Iterator[Record]:
        yield from itertools.repeat(Record("x", output="y"), 3)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data_gen.registry.open_source", stopped)
        assert main(["tokenizer", "train", "train.jsonl", "-o", "new"]) == 130
    assert not [path for path in ground.iterdir() if "new" in path.name]
    assert main(["tokenizer", "train", "train.jsonl", "-o", "new"]) == 0


def test_show(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it is, and a text with its seams."""
    tiny.byte_level_bpe("byte")
    tiny.wordpiece("word")
    assert main(["tokenizer", "show", "word", "小猫 The犇"]) == 0
    assert main(["tokenizer", "show", "byte", "犇"]) == 0
    assert main(["tokenizer", "show", "embedded"]) == 0
    word, cut, byte, bytes_, embedded = capsys.readouterr().out.splitlines()
    assert word.startswith("word: ")
    assert "wordpiece; an answer ends with [SEP]" in word
    assert cut == "  4: 小|猫|the|[UNK]"
    assert byte.endswith("byte_bpe; an answer ends with <|endoftext|>")
    assert bytes_ == r"  3: \xe7|\x8a|\x87"
    assert "sentencepiece" in embedded
