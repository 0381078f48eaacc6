"""What crosses between a teacher and the rest: two Protocols and the plain dataclasses they speak.

A `TextTeacher` answers requests in text. A `SignalTeacher` gives, for texts that are already there, its hidden states
and the means to turn them into logits. This module imports neither torch nor transformers.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch


class TeacherError(ValueError):
    """A sentence for the user: what is wrong with a teacher and the way out. The command exits with 2."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint such as " (did you mean 'forward_kl'?)", or the list of choices when nothing is close."""
    names = sorted(set(choices))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (there are: {', '.join(names)})" if names else ""


@dataclass(slots=True)
class Request:
    """One thing to ask. Endpoints read `messages`; local models read `prompt` when it is given."""

    key: str
    """Names the request among its fellows; the completion carries it back"""
    messages: list[dict[str, str]]
    """Chat form, `{"role": "system" | "user" | "assistant", "content": str}`"""
    prompt: str | None = None
    """The rendered text, for local models: generation goes on right after it"""
    max_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy"""
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Completion:
    """What came back. A failure is a value: `error` is set and `text` is empty."""

    key: str
    text: str = ""
    finish_reason: str = "stop"
    """"stop", "length" or "error\""""
    error: str | None = None
    fatal: bool = False
    """True when no further request can succeed (wrong key, quota spent): stop the run"""
    model: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    """`prompt_tokens`, `completion_tokens`"""
    attempts: int = 1
    seconds: float = 0.0
    logprobs: list[Any] | None = None
    """`[token, logprob, [[token, logprob], ...]]` a token, when asked for; no UTF-8: a list of bytes instead of text"""
    price_factor: float = 1.0
    """The share of the full price that it cost: the Batch API's 0.5"""


def estimated_tokens(request: Request) -> int:
    """Tokens that a request will be charged for reading, roughly: those of its texts, and 4 a message."""
    texts = [message["content"] for message in request.messages] or [request.prompt or ""]
    return int(3 + sum(4 + tokens_of(text) for text in texts))


def tokens_of(text: str) -> float:
    """Tokens of a text, roughly: 0.8 a 汉字, 0.3 a letter."""
    wide = (len(text.encode("utf-8", "replace")) - len(text)) / 2
    return 0.8 * wide + 0.3 * (len(text) - wide)


@runtime_checkable
class TextTeacher(Protocol):
    """Answers in text, completions as they finish (any order)."""

    name: str
    local: bool
    """True when it runs on this machine and reads `Request.prompt`"""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]: ...


@dataclass(slots=True)
class DenseSignal:
    """A local teacher's supervision for one batch: logits are formed from it chunk by chunk.

    `hidden` (tokens, width) are the final hidden states at the positions asked for; `weight` (vocab, width) and
    `bias` (vocab) are the output embedding; `layers` maps a layer's number to its hidden states (places, width),
    the name of a part of its attention (teachers.hidden) to that part (places, heads, d).
    """

    vocab_id: str
    hidden: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    layers: dict[Any, torch.Tensor] = field(default_factory=dict)


@runtime_checkable
class SignalTeacher(Protocol):
    """Gives signals for token ids in its own vocabulary."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def vocab_id(self) -> str:
        """Fingerprint of the tokenizer's vocabulary, as `vocabulary_id` makes it"""

    @property
    def layers(self) -> int:
        """How many blocks it has: `signal` gives hidden states of 0 (the embeddings) to this one"""

    @property
    def width(self) -> int:
        """Numbers a hidden state"""

    @property
    def context(self) -> int | None:
        """The longest row that it reads, in its own tokens; None when there is no such length"""

    def to(self, device: Any) -> Any: ...

    def signal(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        positions: torch.Tensor,
        layers: Sequence[int | str],
        layer_positions: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> DenseSignal:
        """What it says at flat `positions` of the padded (rows, length) input; hidden states of `layers` at
        `layer_positions`, by default the same. `position_ids`, (rows, length), are given where a row holds several
        texts: they start at 0 with each, and no text may see another. A teacher without them cannot be packed."""


def vocabulary_id(tokenizer: Any) -> str:
    """Fingerprint of a vocabulary: 16 hex digits over every (id, entry). Equal ids mean the same logits layout."""
    digest = hashlib.sha256()
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda pair: (pair[1], pair[0])):
        digest.update(f"{index}\t{token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
