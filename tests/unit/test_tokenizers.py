"""Loading, refusing, training tokenizers; and their entries as bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from students.errors import StudentError
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from students.train_tokenizers import train_byte_bpe, train_sentencepiece_bpe, train_wordpiece
from tests import tiny

TRAINERS: dict[str, Callable[..., Any]] = {
    "byte_bpe": train_byte_bpe,
    "sentencepiece": train_sentencepiece_bpe,
    "wordpiece": train_wordpiece,
}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ByteView]:
    """Tiny ones and trained ones, by name."""
    root = tmp_path_factory.mktemp("tokenizers")
    made = {name: load_tokenizer(make(root / name)) for name, make in tiny.FAMILIES.items()}
    made |= {f"trained {name}": train(tiny.sentences(), 500, root / f"t{name}") for name, train in TRAINERS.items()}
    return {name: ByteView(tokenizer) for name, tokenizer in made.items()}


def unigram(folder: Path) -> ByteView:
    """T5's kind: no bytes, white space folded into one U+2581, NFKC."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(tiny.sentences(), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    return ByteView(load_tokenizer(folder))


def test_families(views: dict[str, ByteView], tmp_path: Path) -> None:
    """Read off the tokenizer, not off its name."""
    assert {name: view.family for name, view in views.items()} == {
        "byte": "byte_bpe", "sentencepiece": "sentencepiece", "wordpiece": "wordpiece",
        "trained byte_bpe": "byte_bpe", "trained sentencepiece": "sentencepiece", "trained wordpiece": "wordpiece",
    }  # fmt: skip
    assert unigram(tmp_path).family == "sentencepiece"
    assert views["wordpiece"].lowercase
    assert not views["trained wordpiece"].lowercase


def test_entries(views: dict[str, ByteView]) -> None:
    """GPT-2's stand-ins, U+2581 and <0xHH>, ## and what is special."""
    byte, piece, word = (views[name] for name in tiny.FAMILIES)

    def entry(view: ByteView, token: str) -> bytes | None:
        return view.entries[view.tokenizer.convert_tokens_to_ids(token)]

    assert entry(byte, "Ġ") == b" "
    assert entry(byte, "Ċ") == b"\n"
    assert {entry(byte, token) for token in byte.tokenizer.get_vocab()} >= {bytes([b]) for b in range(256)}
    assert entry(byte, "<|endoftext|>") is None
    assert entry(piece, "▁") == b" "
    assert entry(piece, "<0xE4>") == b"\xe4"
    assert entry(piece, "<s>") is None
    assert entry(piece, "<unk>") is None
    assert entry(word, "##e") == b"e"
    assert entry(word, "[CLS]") is None
    assert entry(word, "[UNK]") is None


def test_reserved_entries_have_no_bytes(tmp_path: Path) -> None:
    """BERT's [unused7] stands for nothing; a bracket and ## are text."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "[unused99]"]
    tokens = [*special, "[", "]", "##", "#", *"abcdefghij", *"一二三四五六七八九十甲乙丙丁"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    config = {"tokenizer_class": "BertTokenizerFast", "eos_token": "[SEP]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    view = ByteView(load_tokenizer(tmp_path))
    assert view.entries[:7] == [None] * 7
    assert view.entries[7:11] == [b"[", b"]", b"##", b"#"]


@pytest.mark.parametrize("name", ["sentencepiece", "trained sentencepiece"])
def test_no_dummy_space_in_a_later_part(views: dict[str, ByteView], name: str) -> None:
    """A prompt has one, as LLaMA's tokenizer puts it; an answer says what it says."""
    view = views[name]
    bos = view.tokenizer.bos_token_id
    prompt = view.encode_prompt("小猫")
    assert prompt[0] == bos
    assert b"".join(view.entries[i] or b"" for i in prompt) == " 小猫".encode()
    for text in ("小猫", " 小猫", "\n小猫", "The", " The", ""):
        assert b"".join(view.entries[i] or b"" for i in view.encode(text)) == text.encode()
    assert view.encode_many(["小猫", ""]) == [view.encode("小猫"), []]


def test_prompts_of_the_others(views: dict[str, ByteView]) -> None:
    """GPT-2 has no beginning-of-text of its own, BERT's [CLS] is none."""
    for name in ("byte", "wordpiece"):
        assert views[name].encode_prompt("小猫") == views[name].encode("小猫")


def test_bytes_that_are_no_text(views: dict[str, ByteView]) -> None:
    """Half a character goes through byte entries; a WordPiece tokenizer has none."""
    whole = "小猫".encode()
    for name in ("byte", "sentencepiece", "trained sentencepiece", "trained byte_bpe"):
        view = views[name]
        for text in (whole[:1], whole[:2], whole[:4], whole[1:], whole[2:5], b"\xff", b"a" + whole[:5]):
            assert b"".join(view.entries[i] or b"" for i in view.encode_broken(text)) == text, (name, text)
    assert views["wordpiece"].encode_broken(whole[:2]) == []


def test_ends_of_swallowed_and_unknown(views: dict[str, ByteView]) -> None:
    """Spaces belong to the entry after them, an unknown character to its [UNK], what trails to the last."""
    word = views["wordpiece"]
    assert word.ends("小  猫 \n", word.encode("小  猫 \n")).tolist() == [3, 10]
    assert word.ends("小鬱猫", word.encode("小鬱猫")).tolist() == [3, 6, 9]
    assert word.ends("The Cat", word.encode("The Cat"))[-1] == 7
    assert word.ends(" \n", word.encode(" \n")).tolist() == []


def test_ends_when_the_tokenizer_rewrites_the_text(tmp_path: Path) -> None:
    """One end for each entry, whatever was folded together and whether the anchor held."""
    view = unigram(tmp_path)
    for text in ("9", "小猫  在", "  \n小", "ﬁ①Ａ", "", " ", "a\n\nb", "The\u3000cat"):
        ids = view.encode(text)
        ends = view.ends(text, ids).tolist()
        assert len(ends) == len(ids)
        assert ends == sorted(ends)
        assert not ends or ends[-1] == len(text.encode())


# Refusals ----------------------------------------------------------------------------------------------------------


def test_refuses_a_vocabulary_without_a_class(tmp_path: Path) -> None:
    """transformers would make an empty GPT-2 tokenizer of it."""
    (tmp_path / "vocab.txt").write_text("\n".join(["[UNK]", *"一二三"]), encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    with pytest.raises(StudentError, match=r'tokenizer_class": "BertTokenizerFast"'):
        load_tokenizer(tmp_path)


def test_refuses_a_torn_config(tmp_path: Path) -> None:
    tiny.byte_level_bpe(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_cla', encoding="utf-8")
    with pytest.raises(StudentError, match=r"cannot load a tokenizer from .*tokenizer_config\.json is damaged"):
        load_tokenizer(tmp_path)


def test_refuses_what_came_out_tiny(tmp_path: Path) -> None:
    """Files that do not fit their class give a handful of entries."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(StudentError, match="has only 2 entries"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["no/such/folder", "nowhere", "a b/c", "/nowhere/at/all"])
def test_refuses_what_is_not_there(name: str) -> None:
    """Neither a folder nor a hub id."""
    with pytest.raises(StudentError, match="no tokenizer folder"):
        load_tokenizer(name)


def test_refuses_an_empty_folder(tmp_path: Path) -> None:
    """One line, not a page."""
    with pytest.raises(StudentError, match=f"{tmp_path} holds no tokenizer: neither tokenizer.json") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_refuses_bytes_it_cannot_read(tmp_path: Path) -> None:
    """A tokenizer of none of the families."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"w{n}": n for n in range(40)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w0")))
    with pytest.raises(StudentError, match="cannot be read as bytes"):
        ByteView(tokenizer)


# Training ----------------------------------------------------------------------------------------------------------

_TRAIN = """
import sys
from students import train_tokenizers as t
from tests import tiny
t.train_wordpiece(tiny.sentences(), 300, sys.argv[1] + "/wp")
t.train_byte_bpe(tiny.sentences(), 400, sys.argv[1] + "/bb")
t.train_sentencepiece_bpe(tiny.sentences(), 500, sys.argv[1] + "/sp")
"""


def test_training_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Whatever the order of Python's sets."""
    digests = []
    for seed in ("0", "1", "4242"):
        folder = tmp_path / seed
        folder.mkdir()
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", _TRAIN, str(folder)], env=env, check=True, capture_output=True)
        files = sorted(folder.glob("*/tokenizer.json"))
        assert len(files) == 3
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1] == digests[2]


@pytest.mark.parametrize("name", TRAINERS)
def test_trained_size_and_round_trip(views: dict[str, ByteView], name: str) -> None:
    """No larger than asked, unless bytes and characters alone are more; what was learnt from comes back."""
    view = views[f"trained {name}"]
    characters = len(set("".join(tiny.sentences()))) if name == "sentencepiece" else 0
    assert 300 < len(view.tokenizer) <= max(500, 259 + characters + 1)
    assert view.eos_id is not None
    for text in ("小猫在家里看书。", "The quick brown fox", "12+30=42"):
        decoded = view.tokenizer.decode(view.encode(text))
        assert decoded.replace(" ", "") == text.replace(" ", "")


def test_what_a_tokenizer_drops_belongs_to_what_comes_next(tmp_path: Path) -> None:
    """Characters without an entry vanish, and offsets go astray after them; ends are found in the text itself."""
    view = ByteView(load_tokenizer(tiny.dropping(tmp_path / "dropping")))
    assert view.family == "sentencepiece"
    for text in ("小猫\n2. 看书\n\n3.🎉 家", "🎉小猫", "小🎉\n", "\n", "小猫"):
        ids, raw = view.encode(text), text.encode()
        ends = view.ends(text, ids).tolist()
        starts = [0, *ends][: len(ends)]
        assert not ids or ends[-1] == len(raw)
        for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
            said = view.entries[ids[n]] or b""
            said = said.removeprefix(b" ") if n == 0 else said  # a dummy space
            kept = "".join(c for c in raw[start:end].decode() if view.encode(c) or c == " ")
            assert kept.encode() == said, (text, n)


def test_refuses_a_file_and_bare_vocabularies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are downloaded one by one; each message says what to do."""
    lone = tmp_path / "zh.model"
    lone.write_bytes(b"no model")
    with pytest.raises(StudentError, match=r"zh.model is a file; a tokenizer is a folder"):
        load_tokenizer(lone)
    gpt2 = tmp_path / "gpt2"
    gpt2.mkdir()
    (gpt2 / "vocab.json").write_text('{"a": 0}', encoding="utf-8")
    (gpt2 / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(StudentError, match=r'write its class, such as {"tokenizer_class": "GPT2TokenizerFast"}'):
        load_tokenizer(gpt2)
    llama = tmp_path / "llama"
    llama.mkdir()
    (llama / "tokenizer.model").write_bytes(b"no model")
    monkeypatch.setattr("students.load_tokenizers.find_spec", lambda name: None)
    with pytest.raises(StudentError, match=r"needs sentencepiece: pip install 'minituo\[sentencepiece\]'"):
        load_tokenizer(llama)
