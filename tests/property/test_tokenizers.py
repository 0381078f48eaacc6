"""For any text: entries add up to its bytes, and ends never drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from students.train_tokenizers import train_byte_bpe, train_sentencepiece_bpe, train_wordpiece
from tests import tiny

NAMES = ["byte", "sentencepiece", "wordpiece", "trained byte", "trained sentencepiece", "trained wordpiece"]
CHINESE = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=15)
ANY = st.text(st.characters(codec="utf-8"), max_size=20)
_PARTS = ["小猫", "在", "The", " ", "  ", "\n", "\t", "👍🏽", "é", "e\u0301", "\u3000", "12", "。", "\x00", "Ａ", "𠮷"]
_PARTS += ["<s>", "</s>", "<unk>", "[SEP]", "[UNK]", "<|endoftext|>"]
MIXED = st.lists(st.sampled_from(_PARTS), max_size=15).map("".join)
TEXT = st.one_of(CHINESE, ANY, MIXED)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ByteView]:
    root = tmp_path_factory.mktemp("tokenizers")
    made = {name: load_tokenizer(make(root / name)) for name, make in tiny.FAMILIES.items()}
    made["trained byte"] = train_byte_bpe(tiny.sentences(), 500, root / "tb")
    made["trained sentencepiece"] = train_sentencepiece_bpe(tiny.sentences(), 600, root / "ts")
    made["trained wordpiece"] = train_wordpiece(tiny.sentences(), 500, root / "tw")
    return {name: ByteView(tokenizer) for name, tokenizer in made.items()}


@settings(max_examples=300, deadline=None)
@given(TEXT, st.sampled_from([n for n in NAMES if "wordpiece" not in n]))
def test_entries_add_up_to_the_text(views: dict[str, ByteView], text: str, name: str) -> None:
    """Nothing lost, nothing added, not even a space in front. (A literal U+2581 is a space to SentencePiece.)"""
    view = views[name]
    assume("\u2581" not in text)
    ids = view.encode(text)
    assert b"".join(view.entries[i] or b"" for i in ids) == text.encode()
    assert view.ends(text, ids).tolist() == np.cumsum([len(view.entries[i] or b"") for i in ids]).tolist()


@settings(max_examples=300, deadline=None)
@given(TEXT, st.sampled_from(NAMES))
def test_ends_never_drift(views: dict[str, ByteView], text: str, name: str) -> None:
    """One for each entry, never back, never past the end, the last at the end."""
    view = views[name]
    ids = view.encode(text)
    ends = view.ends(text, ids)
    assert len(ends) == len(ids)
    assert (np.diff(ends) >= 0).all()
    if len(ends):
        assert ends[0] >= 0
        assert ends[-1] == len(text.encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=12), st.sampled_from([n for n in NAMES if "wordpiece" not in n]))
def test_any_bytes_can_be_written(views: dict[str, ByteView], data: bytes, name: str) -> None:
    """By both families that own byte entries."""
    view = views[name]
    assume(b"\xe2\x96\x81" not in data)
    assert b"".join(view.entries[i] or b"" for i in view.encode_broken(data)) == data


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, max_size=6), st.sampled_from(NAMES))
def test_together_is_one_by_one(views: dict[str, ByteView], texts: list[str], name: str) -> None:
    """A batch changes nothing."""
    view = views[name]
    assert view.encode_many(texts) == [view.encode(text) for text in texts]
