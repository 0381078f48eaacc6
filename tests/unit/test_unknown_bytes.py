"""Entries that say no bytes, or bytes that the text has not: unknown characters, special tokens, dummy spaces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from tests import tiny
from tests.aligning import planned
from tests.masses import moved
from tests.other_tokenizers import ADDED, _add, llama3, pieces_without_bytes
from tests.plain_losses import set_loss
from tests.random_vocabularies import build


@pytest.fixture
def nameless(tmp_path: Path) -> ByteView:
    """SentencePiece without bytes: what it has no piece for is `<unk>`, several of them one."""
    return ByteView(load_tokenizer(pieces_without_bytes(tmp_path / "pieces")))


@pytest.mark.parametrize(
    ("text", "pieces", "ends"),
    [
        ("中龘国", ["中", "<unk>", "国"], [3, 6, 9]),
        ("龘中", ["<unk>", "中"], [3, 6]),
        ("龘", ["<unk>"], [3]),
        ("中龘龘", ["中", "<unk>"], [3, 9]),
    ],
)
def test_an_unknown_entry_covers_its_characters(
    text: str, pieces: list[str], ends: list[int], nameless: ByteView
) -> None:
    """Also at the start, where something stands before the text that is unknown, too."""
    ids = nameless.encode(text)
    assert nameless.tokenizer.convert_ids_to_tokens(ids) == pieces
    assert nameless.ends(text, ids).tolist() == ends


def test_a_student_learns_an_unknown_character_from_the_step_that_says_so(nameless: ByteView, tmp_path: Path) -> None:
    student = ByteView(load_tokenizer(tiny.byte_level_bpe(tmp_path / "student")))
    _, plans, _ = planned(nameless, student, ["中龘国"])
    assert plans[0].realised[len(student.encode("中"))] == nameless.tokenizer.unk_token_id


def test_special_tokens_have_no_bytes(tmp_path: Path) -> None:
    """Llama-3's `<|start_header_id|>` and 250 others are special, but named by no attribute of the tokenizer."""
    view = ByteView(load_tokenizer(llama3(tmp_path)))
    special = [i for i, token in view.tokenizer.added_tokens_decoder.items() if token.special]
    assert len(special) > 2
    assert [view.entries[i] for i in special] == [None] * len(special)


def test_a_dummy_space_after_an_added_token_covers_nothing(tmp_path: Path) -> None:
    """Tokenizers as LLaMA's first ones put one after each."""
    view = ByteView(load_tokenizer(_add(tiny.sentencepiece_like(tmp_path), ADDED)))
    text = "小猫在家里"
    ids = view.encode(text)
    assert [view.entries[i] for i in ids] == ["小猫".encode(), b" ", "在家里".encode()]
    assert view.ends(text, ids).tolist() == [6, 6, 15]


def test_no_dummy_space_where_line_feeds_are_joined() -> None:
    """What stands before a text melts into it: another character does not."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "\n", "\n\n", "中"]
    model = models.BPE({p: n for n, p in enumerate(pieces)}, [("\n", "\n")], unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    view = ByteView(fast)
    for text in ("\n中", "中\n", "\n\n\n", "中中"):
        assert b"".join(view.entries[i] or b"?" for i in view.encode(text)) == text.encode()


def test_a_teacher_that_rules_out_what_stands_there_gives_a_finite_loss() -> None:
    """The row has no target then."""
    teacher, student = build("byte", ["中中"], 0), build("byte", ["中"], 0)
    aligner, plans, _ = planned(teacher, student, ["国中中"])
    plan, rows = aligner.batch(plans), len(plans[0].ids)
    shape = plans[0].teacher_tokens, len(teacher.entries)
    theirs = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 40
    targets = moved(aligner, theirs, plan, rows)
    assert 0 < int((targets.total == 0).sum()) < rows
    assert targets.single_mass.min() > 0
    assert torch.isfinite(set_loss(aligner, theirs, torch.zeros(rows, len(student.entries)), plan))


def test_a_set_is_known_by_one_number(nameless: ByteView, tmp_path: Path) -> None:
    """▁3 and 3 leave the same entries to say, in two ranges: as two sets the loss could be negative."""
    student = ByteView(load_tokenizer(tiny.wordpiece(tmp_path / "student")))
    aligner, plans, _ = planned(nameless, student, ["小猫在家里看书。"])
    flat = torch.zeros(plans[0].teacher_tokens, len(nameless.entries))
    targets = moved(aligner, flat, aligner.batch(plans), len(plans[0].ids))
    seen: set[tuple[int, frozenset[int]]] = set()
    for row, low, high, extra in zip(*(x.tolist() for x in (targets.row, targets.low, targets.high, targets.extra)),
                                     strict=True):  # fmt: skip
        members = frozenset([*aligner.tables.order[low:high].tolist(), *([extra] if extra >= 0 else [])])
        assert len(members) == high - low + (extra >= 0), "no entry twice"
        assert (row, members) not in seen
        seen.add((row, members))
    assert seen
