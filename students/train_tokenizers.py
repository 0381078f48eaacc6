"""Tokenizers learnt from a user's own texts: WordPiece as BERT-Chinese cuts, byte-level BPE, SentencePiece-like BPE."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from students.errors import StudentError
from students.load_tokenizers import LEAST, load_tokenizer
from students.tokenizers import SPACE


def train_wordpiece(texts: Iterable[str], size: int, folder: str | Path, *, lowercase: bool = False) -> Any:
    """A BERT-style tokenizer of at most `size` entries, learnt from texts and saved to `folder`; ends with [SEP].

    As in BERT-Chinese: every character, its `##` form for letters and digits, then the most frequent Latin words.
    Counted here, because the trainer of `tokenizers` gives another vocabulary in every process.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        text = text.lower() if lowercase else text
        characters.update(text)
        words.update(re.findall(r"[A-Za-z]{2,}", text))
    known = [c for c, _ in sorted(characters.items(), key=_by_count) if not c.isspace()]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *known]
    entries += [f"##{c}" for c in known if c.isalnum() and c.isascii()]
    entries += [w for w, _ in sorted(words.items(), key=_by_count)]
    backend.model = models.WordPiece({entry: n for n, entry in enumerate(entries[:size])}, unk_token="[UNK]")
    return _save(backend, folder, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]", mask_token="[MASK]")


def _by_count(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]


def train_byte_bpe(texts: Iterable[str], size: int, folder: str | Path) -> Any:
    """A GPT-2-style byte-level BPE of `size` entries, learnt from texts and saved to `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    end = "<|endoftext|>"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return _save(backend, folder, bos_token=end, eos_token=end, unk_token=end, pad_token=end)


def train_sentencepiece_bpe(texts: Iterable[str], size: int, folder: str | Path) -> Any:
    """A LLaMA-style BPE of `size` entries: U+2581, single digits, bytes for the unknown; saved to `folder`."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    split = Regex(rf"[0-9]|{SPACE}?[A-Za-z]+|{SPACE}+|\n|\p{{Han}}+|[^0-9A-Za-z{SPACE}\n\p{{Han}}]")
    backend.pre_tokenizer = pre_tokenizers.Split(split, behavior="isolated")
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    # Training makes the byte entries special; they must be ordinary entries, or decoding drops them.
    state = json.loads(backend.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["id"] < 3]
    backend = Tokenizer.from_str(json.dumps(state))
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return _save(backend, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>")


def _save(backend: Any, folder: str | Path, **special: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    if backend.get_vocab_size() < LEAST:
        raise StudentError(
            f"the texts have so few different characters that a tokenizer of {backend.get_vocab_size()} entries came "
            "out; give it more text"
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)
    tokenizer.save_pretrained(str(folder))
    return load_tokenizer(folder)
