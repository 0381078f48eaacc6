"""Tokenizers as newer checkpoints have them, small: what `tokenizers` writes for Qwen2 and Llama-3, SentencePiece
without bytes, entries that were added later.

Each call learns the same files from `tiny.sentences()`; nothing is fetched.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from students.tokenizers import SPACE
from tests.tiny import _save, _vocabulary_and_merges, byte_level_bpe, sentencepiece_like, sentences

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


WHOLE = ["学生在图书馆学习中文", "朋友打电话去"]
"""What the pattern leaves in one piece and no merge leads to"""


def qwen2(folder: str | Path, size: int = 480) -> Path:
    """NFC, one digit a token, and special tokens after the model's own entries: none of them is in its vocabulary."""
    from tokenizers import normalizers

    backend = _split_bytes(QWEN2_SPLIT, size)
    backend.normalizer = normalizers.NFC()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return _save(backend, folder, **named, additional_special_tokens=["<|im_start|>", "<|im_end|>"])


def llama3(folder: str | Path, size: int = 480) -> Path:
    """Up to three digits a token; a word that is an entry is taken whole, whatever the merges say; text begins with an
    entry of its own."""
    from tokenizers import processors

    backend = _split_bytes(LLAMA3_SPLIT, size, ignore_merges=True)
    backend.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    bos = "<|begin_of_text|>"
    backend.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, backend.token_to_id(bos))]
        ),
    ])  # fmt: skip
    return _save(backend, folder, bos_token=bos, eos_token="<|eot_id|>")


def _split_bytes(split: str, size: int, *, ignore_merges: bool = False) -> Any:
    """Byte-level BPE behind a split pattern; with `ignore_merges` some entries that no merge leads to."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    cut = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = cut
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(sentences(), trainer)
    entries, merges = _vocabulary_and_merges(learner)
    if ignore_merges:
        entries += ["".join(part for part, _ in cut.pre_tokenize_str(word)) for word in WHOLE]
    vocabulary = {entry: n for n, entry in enumerate(entries)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges))
    backend.pre_tokenizer, backend.decoder = cut, decoders.ByteLevel()
    return backend


ADDED = ["小猫", "学习中文", "看书。", "\n\n"]
"""Words that somebody has added to a vocabulary; they are matched before anything else is cut"""


def added_bytes(folder: str | Path) -> Path:
    """GPT-2's family with ordinary entries added."""
    return _add(byte_level_bpe(folder), ADDED)


def added_pieces(folder: str | Path) -> Path:
    """LLaMA's family with ordinary entries added; the dummy space comes before the first word alone, not after each of
    them."""
    from tokenizers import pre_tokenizers

    folder = sentencepiece_like(folder)
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    state["normalizer"], state["pre_tokenizer"] = None, json.loads(first.__getstate__())
    (folder / "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    return _add(folder, ADDED)


def _add(folder: Path, words: Sequence[str]) -> Path:
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    tokenizer.save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.write_text(json.dumps(values, ensure_ascii=False, indent=2), encoding="utf-8")
    return folder


def pieces_without_bytes(folder: str | Path, size: int = 500) -> Path:
    """SentencePiece BPE without byte fallback: what has no piece is <unk>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    learned, merges = _pieces(sentences(), size)
    vocabulary = {piece: n for n, piece in enumerate([*_SPECIAL, *learned])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    backend.add_special_tokens(_SPECIAL)
    return _save(backend, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram(folder: str | Path, size: int = 500) -> Path:
    """T5's and XLM-R's kind, without bytes: the likeliest cut, not merges.

    Pieces are scored by how often they stand in the text: the trainer of `tokenizers` gives others in every process.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    lines = [unicodedata.normalize("NFKC", line) for line in sentences()]
    text = SPACE + "\n".join(lines).replace(" ", SPACE)
    scored = [(piece, math.log((text.count(piece) + 0.5) / len(text))) for piece in _pieces(lines, size)[0]]
    backend = Tokenizer(models.Unigram([*((name, 0.0) for name in _SPECIAL), *scored], 0, False))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    backend.add_special_tokens(_SPECIAL)
    return _save(backend, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


_SPECIAL = ["<unk>", "<s>", "</s>"]


def _pieces(lines: Sequence[str], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size - 3, show_progress=False))
    return _vocabulary_and_merges(learner)


OTHERS = {
    "qwen2": qwen2, "llama3": llama3, "added bytes": added_bytes, "added pieces": added_pieces,
    "pieces without bytes": pieces_without_bytes, "unigram": unigram,
}  # fmt: skip
