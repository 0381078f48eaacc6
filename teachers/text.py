"""From text to a local model's tokens and back, so that prompt and answer can be joined and cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_WIDE = "\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff“”‘’…—"
_WIDE_GAP = re.compile(f"(?<=[{_WIDE}]) +| +(?=[{_WIDE}])")
_CONTEXT = 8
"""So many tokens before an answer are decoded with it"""


class TokenText:
    """A fast tokenizer as generation needs it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.wordpiece = type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece"
        self.prefix = self._prefix()

    def _prefix(self) -> list[int]:
        """The beginning-of-text entry when the tokenizer itself puts one first: Llama's does; BERT's [CLS] is none."""
        bos = self.tokenizer.bos_token_id
        first = self.tokenizer("")["input_ids"][:1]
        return [bos] if bos is not None and first == [bos] and bos != self.tokenizer.eos_token_id else []

    def encode(self, text: str) -> list[int]:
        """Ids of a prompt, with the beginning-of-text entry unless the text itself starts with it."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids if self.prefix and ids[:1] == self.prefix else self.prefix + ids

    def decode(self, ids: Sequence[int], after: Sequence[int] = ()) -> str:
        """The text of `ids` as it reads right after the tokens `after`, special entries left out.

        Decoded alone, a first word would lose its space. WordPiece does not know its spaces: those beside 汉字 are
        dropped.
        """
        context = list(after[-_CONTEXT:])
        before = self._decode(context)
        text = self._decode([*context, *ids])
        text = text[len(before) :] if text.startswith(before) else self._decode(list(ids))
        return text.lstrip(" ") if self.wordpiece else text

    def _decode(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return _WIDE_GAP.sub("", text) if self.wordpiece else text

    def stops(self, stop: Sequence[str]) -> Stops:
        """What ends an answer beside EOS."""
        return Stops(self, stop)


class Stops:
    """Stop strings as entries of the vocabulary, where they are such, and as a pattern over the text."""

    def __init__(self, text: TokenText, stop: Sequence[str]) -> None:
        self.text = text
        stop = [s for s in stop if s.strip()]
        vocabulary = text.tokenizer.get_vocab()
        self.ids = frozenset(vocabulary[s] for s in stop if s in vocabulary)
        self.pattern = re.compile("|".join(map(self._one, stop)), re.IGNORECASE if text.wordpiece else 0)
        self.reach = max((len(s.encode()) for s in stop), default=0) + _CONTEXT
        self.any = bool(stop)

    def _one(self, stop: str) -> str:
        # WordPiece loses spaces, line breaks and perhaps capitals.
        return r"\s*".join(re.escape(c) for c in stop if not c.isspace()) if self.text.wordpiece else re.escape(stop)

    def said(self, ids: list[int]) -> bool:
        """True when the last of `ids` complete a stop string."""
        return bool(self.pattern.search(self.text.decode(ids[-self.reach :]))) and bool(
            self.pattern.search(self.text.decode(ids))
        )

    def cut(self, text: str) -> tuple[str, bool]:
        """The text up to the first stop string, and whether there was one."""
        found = self.pattern.search(text) if self.any else None
        return (text[: found.start()], True) if found else (text, False)
