"""Tokenizers of the three families with vocabularies that nobody would learn: small, drawn, made on the spot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from students.tokenizers import SPACE, ByteView, _gpt2_bytes

FAMILIES = ["byte", "sentencepiece", "wordpiece"]


def build(family: str, words: Sequence[str], seed: int) -> ByteView:
    """A tokenizer that knows pieces of the words; `seed` decides which, in which order, and how it cuts."""
    draw = random.Random(seed)
    return ByteView({"byte": _byte, "sentencepiece": _sentencepiece, "wordpiece": _wordpiece}[family](words, draw))


def _merged(sequences: list[list[str]], draw: random.Random, most: int) -> list[tuple[str, str]]:
    """Pairs of neighbours joined in any order, not the frequent ones first."""
    merges: dict[tuple[str, str], None] = {}
    while len(merges) < most and any(len(s) > 1 for s in sequences):
        chosen = draw.choice([s for s in sequences if len(s) > 1])
        at = draw.randrange(len(chosen) - 1)
        pair = chosen[at], chosen[at + 1]
        merges[pair] = None
        sequences = [_joined(s, pair) for s in sequences]
    return list(merges)


def _joined(sequence: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for part in sequence:
        if found and (found[-1], part) == pair:
            found[-1] += part
        else:
            found.append(part)
    return found


def _byte(words: Sequence[str], draw: random.Random) -> Any:
    """Merges run across the borders of characters, and of words where nothing is cut before."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    stand_in = {byte: char for char, byte in _gpt2_bytes().items()}
    merges = _merged([[stand_in[b] for b in word.encode()] for word in words], draw, draw.randint(0, 40))
    entries = dict.fromkeys([*stand_in.values(), *(a + b for a, b in merges)])
    backend = Tokenizer(models.BPE(vocab={entry: n for n, entry in enumerate(entries)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=draw.random() < 0.5)
    backend.decoder = decoders.ByteLevel()
    return _fast(backend, eos_token="<|e|>", pad_token="<|e|>")


def _sentencepiece(words: Sequence[str], draw: random.Random) -> Any:
    """Some characters have a piece, the others come in bytes; line feeds among them where there is a dummy space."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    dummy = [normalizers.Prepend(SPACE)] if draw.random() < 0.7 else []
    known = [c for c in sorted({c for word in words for c in word.replace(" ", SPACE)}) if draw.random() < 0.8]
    known = [c for c in known if c != "\n" or not dummy]
    sequences = [[c for c in word.replace(" ", SPACE) if c in known] for word in words]
    merges = _merged(sequences, draw, draw.randint(0, 30))
    fixed = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    entries = dict.fromkeys([*fixed, SPACE, *known, *(a + b for a, b in merges)])
    backend = Tokenizer(
        models.BPE(
            vocab={entry: n for n, entry in enumerate(entries)}, merges=merges, unk_token="<unk>", byte_fallback=True,
            fuse_unk=True,
        )
    )  # fmt: skip
    backend.normalizer = normalizers.Sequence([*dummy, normalizers.Replace(" ", SPACE)])
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return _fast(backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _wordpiece(words: Sequence[str], draw: random.Random) -> Any:
    """Words, their beginnings and ends; what is missing is [UNK]."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    lower = draw.random() < 0.5
    text = [word.lower() if lower else word for word in words]
    parts = [part for word in text for part in word.split()]
    cuts = [(part, draw.randint(1, len(part))) for part in parts]
    pieces = [*(part[:n] for part, n in cuts), *(f"##{part[n:]}" for part, n in cuts if part[n:])]
    characters = [c for c in sorted({c for part in parts for c in part}) if draw.random() < 0.9]
    pieces += [*characters, *(f"##{c}" for c in characters if c.isascii())]
    entries = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces])
    backend = Tokenizer(models.WordPiece(vocab={entry: n for n, entry in enumerate(entries)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=draw.random() < 0.5, handle_chinese_chars=True, strip_accents=False, lowercase=lower
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return _fast(backend, eos_token="[SEP]", unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]")


def _fast(backend: Any, **special: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)
