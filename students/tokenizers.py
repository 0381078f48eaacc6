"""Tokenizers of all three families, seen on the bytes.

Byte-level BPE (GPT-2, Qwen, Llama-3), SentencePiece-like (LLaMA: U+2581 for a space, `<0xHH>` for bytes) and WordPiece
(BERT: `##`, swallowed spaces, perhaps lower-casing) all come down to the same thing here: every entry is a string of
bytes, or nothing for special entries. `ByteView` gives that view of a tokenizer and encodes the parts of a conversation
so that prompt and answer can be joined.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from students.errors import StudentError

SPACE = "\u2581"
_BYTE_ENTRY = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_ANCHORS = ("\n", "。", ".", "a", "0")


@lru_cache(maxsize=1)
def _gpt2_bytes() -> dict[str, int]:
    """GPT-2's printable stand-in -> byte."""
    keep = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(keep)]
    return {chr(b): b for b in keep} | {chr(256 + n): b for n, b in enumerate(others)}


class ByteView:
    """A fast tokenizer seen on the bytes.

    `family` is "byte_bpe", "sentencepiece" or "wordpiece"; `entries[id]` the bytes of an entry, None when it is special
    (control entries, `[UNK]`, ids the tokenizer does not name).
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        state = json.loads(self._backend.to_str())
        self.family = _family(state, tokenizer)
        self.eos_id: int | None = tokenizer.eos_token_id
        self.lowercase = self.family == "wordpiece" and bool((state.get("normalizer") or {}).get("lowercase", False))
        self._prefix = _prefix_ids(tokenizer)

    @cached_property
    def entries(self) -> list[bytes | None]:
        size = max(self.tokenizer.get_vocab().values()) + 1
        added = self.tokenizer.added_tokens_decoder
        # Some are special without being any of the tokenizer's own: Llama-3 reserves 250.
        special = {*self.tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        entries: list[bytes | None] = [None] * size
        for token, index in self.tokenizer.get_vocab().items():
            if index in special:
                continue
            entries[index] = token.encode() if index in added else self._entry(token)
        return entries

    def _entry(self, token: str) -> bytes | None:
        if self.family == "byte_bpe":
            table = _gpt2_bytes()
            return bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()
        if self.family == "sentencepiece":
            byte = _BYTE_ENTRY.fullmatch(token)
            return bytes([int(byte.group(1), 16)]) if byte else token.replace(SPACE, " ").encode()
        if re.fullmatch(r"\[([A-Z]+|unused)\d*\]", token):
            return None
        return token.removeprefix("##").encode() if token != "##" else b"##"

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of the start of a conversation: with the tokenizer's own beginning-of-text entry, if it has one."""
        return self._prefix + self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a later part: no beginning-of-text entry and no dummy space before the first word.

        An answer is text throughout: a `</s>` in it is four characters. In the prompt of a later turn (`special`) it is
        the entry of that name, as templates mean it and as `encode_prompt` has it.
        """
        return self.encode_many([text], special)[0]

    def encode_many(self, texts: Sequence[str], special: bool = False) -> list[list[int]]:
        """`encode` of each text, in one call of the tokenizer."""
        return [found.ids[drop:] for found, drop, _ in self._later(texts, special)]

    def _later(self, texts: Sequence[str], special: bool) -> list[tuple[Any, int, int]]:
        """Each text as a later part: what the backend finds, and how many ids and characters of it come before."""
        ways = [("", [])] if self.family != "sentencepiece" else [*self._anchors, ("", [])]
        done: dict[int, tuple[Any, int, int]] = {}
        self._backend.encode_special_tokens = not special  # transformers sets it anew at each call of its own
        for anchor, ids in ways:  # nearly always the first one does
            left = [n for n in range(len(texts)) if n not in done]
            found = self._backend.encode_batch([anchor + texts[n] for n in left], add_special_tokens=False)
            done |= {
                n: (e, len(ids), len(anchor)) for n, e in zip(left, found, strict=True) if e.ids[: len(ids)] == ids
            }
            if len(done) == len(texts):
                break
        self._backend.encode_special_tokens = False
        return [done[n] for n in range(len(texts))]

    def encode_broken(self, text: bytes) -> list[int]:
        """Ids of bytes that are no UTF-8: through the byte entries; empty when the tokenizer has none."""
        if self.family == "byte_bpe":
            stand_in = {b: c for c, b in _gpt2_bytes().items()}
            return [t.id for t in self._backend.model.tokenize("".join(stand_in[b] for b in text))]
        if self.family == "wordpiece" or not self._byte_ids:
            return []
        good = text.decode("utf-8", "ignore").encode()
        start = len(good) if text.startswith(good) else 0
        return (self.encode(good.decode()) if start else []) + [self._byte_ids[b] for b in text[start:]]

    @cached_property
    def _byte_ids(self) -> dict[int, int]:
        vocabulary = self.tokenizer.get_vocab()
        found = {b: vocabulary.get(f"<0x{b:02X}>") for b in range(256)}
        return {b: i for b, i in found.items() if i is not None} if None not in found.values() else {}

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        """Characters to stand before a text, so that it gets no dummy space, with their ids. Those for which there is
        only an unknown entry will not do: what follows might melt into it."""
        found = [(text, self._backend.encode(text, add_special_tokens=False).ids) for text in _ANCHORS]
        return [(text, ids) for text, ids in found if ids and self.tokenizer.unk_token_id not in ids]

    def ends(self, text: str, ids: Sequence[int]) -> np.ndarray:
        """Where each entry of `ids = encode(text)` ends, in bytes of `text`; never decreasing, the last one at the end.

        An entry starts where the one before it ends, so swallowed spaces belong to the entry after them.
        """
        said = b"".join(self.entries[i] or b"" for i in ids)
        ends = np.cumsum([len(self.entries[i] or b"") for i in ids], dtype=np.int64)
        whole = text.encode("utf-8", "surrogatepass")
        if self.family == "wordpiece":
            return self._ends_by_offsets(text, len(whole))
        if said == whole:
            return ends
        if said[:1] == b" " and whole[:1] != b" ":  # a dummy space
            said, ends = said[1:], np.maximum(ends - 1, 0)
        at = self._said_bytes(said, text)
        if at is None or not len(ends):
            return self._ends_by_offsets(text, len(whole))
        nameless = np.array([self.entries[i] is None for i in ids])
        ends = at[ends]
        if nameless.any():  # an unknown entry stands for what nobody has said
            ends[nameless] = np.maximum(ends, self._ends_by_offsets(text, len(whole)))[nameless]
            ends = np.minimum.accumulate(ends[::-1])[::-1]
        ends[-1] = len(whole)
        return ends

    def character_ends(self, text: str, ids: Sequence[int]) -> list[int]:
        """Where each of `ids`, `encode_prompt(text)` or `encode(text, special=True)`, ends, in characters of `text`.

        0 for a beginning-of-text entry; entries that are parts of one character all end with it.
        """
        found = self._backend.encode(text, add_special_tokens=False)
        prefix = len(ids) - len(found.ids)
        if prefix >= 0 and found.ids == list(ids[prefix:]):
            return [0] * prefix + [end for _, end in found.offsets]
        return self._later_ends(text, special=True)

    def _later_ends(self, text: str, special: bool) -> list[int]:
        """The same for `encode(text, special)`."""
        ((found, drop, shift),) = self._later([text], special)
        return [max(end - shift, 0) for _, end in found.offsets[drop:]]

    def _said_bytes(self, said: bytes, text: str) -> np.ndarray | None:
        """(bytes said + 1): where in the text each byte that was said ends, when a tokenizer has written some
        characters in another way (NFC) or dropped them, because it has no entry (offsets go astray there). None when
        that does not explain what it said."""
        at, place, n = np.zeros(len(said) + 1, np.int64), 0, 0
        for cluster in _clusters(text):
            size, other = len(cluster.encode("utf-8", "surrogatepass")), b""
            if not said.startswith(cluster.encode("utf-8", "surrogatepass"), n):
                other = self._normalized(cluster)
                if said.startswith(b" " + cluster.encode("utf-8", "surrogatepass"), n):  # a dummy space in the midst
                    n, other = n + 1, b""
                    at[n] = place
            if other and said.startswith(other, n):
                at[n + 1 : n + 1 + len(other)] = place + size
                n, place = n + len(other), place + size
                continue
            for char in cluster:
                raw = char.encode("utf-8", "surrogatepass")
                if said.startswith(raw, n):
                    at[n + 1 : n + 1 + len(raw)] = np.arange(place + 1, place + 1 + len(raw))
                    n += len(raw)
                place += len(raw)
        return at if n == len(said) else None

    def _normalized(self, cluster: str) -> bytes:
        if self._backend.normalizer is None or not cluster.isprintable():
            return b""
        return str(self._backend.normalizer.normalize_str(cluster)).encode("utf-8", "surrogatepass")

    def _ends_by_offsets(self, text: str, size: int) -> np.ndarray:
        chars = np.fromiter((len(c.encode("utf-8", "surrogatepass")) for c in text), np.int64, len(text))
        to_byte = np.concatenate([[0], np.cumsum(chars)])
        ends = np.array([to_byte[end] for end in self._later_ends(text, special=False)], dtype=np.int64)
        ends = np.maximum.accumulate(ends)
        if len(ends):
            ends[-1] = size
        return ends


def _clusters(text: str) -> Iterator[str]:
    """Characters with the marks that are put on them, which a normalizer takes together."""
    start = 0
    for n in range(1, len(text) + 1):
        if n == len(text) or not unicodedata.combining(text[n]):
            yield text[start:n]
            start = n


def _family(state: dict[str, Any], tokenizer: Any) -> str:
    model = state["model"]
    if model["type"] == "WordPiece":
        return "wordpiece"
    if "ByteLevel" in json.dumps([state.get("pre_tokenizer"), state.get("decoder")]):
        return "byte_bpe"
    if model.get("byte_fallback") or model["type"] == "Unigram" or any(SPACE in t for t in tokenizer.get_vocab()):
        return "sentencepiece"
    raise StudentError(
        f"a {model['type']} tokenizer without bytes, U+2581 or ## cannot be read as bytes; "
        "use a byte-level BPE, SentencePiece or WordPiece tokenizer"
    )


def _prefix_ids(tokenizer: Any) -> list[int]:
    """The beginning-of-text entry when the tokenizer itself puts one first, as LLaMA's does; BERT's [CLS] is none."""
    ids = tokenizer("")["input_ids"]
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and ids[:1] == [bos] and bos != tokenizer.eos_token_id else []
