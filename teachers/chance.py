"""Choosing the next token: the likeliest one, or one drawn by a number that only the row's seed and its step decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from teachers.generation import Job


class Chance:
    """Sampling by inverse CDF: one number in [0, 1) per row and step, drawn from the row's own seed beforehand."""

    def __init__(self, rows: Sequence[Job], device: Any) -> None:
        import torch

        self.any = any(row.temperature > 0 for row in rows)
        steps = max(row.max_tokens for row in rows) if self.any else 1
        draws = torch.zeros((len(rows), steps), dtype=torch.float64)
        for n, row in enumerate(rows):
            if row.temperature > 0:
                generator = torch.Generator().manual_seed(row.seed)
                draws[n, : row.max_tokens] = torch.rand(row.max_tokens, generator=generator, dtype=torch.float64)
        self.draws = draws.to(device)  # (rows, steps)
        self.at = torch.zeros(len(rows), dtype=torch.long, device=device)
        """The step of each row"""
        self.temperature = torch.tensor([row.temperature for row in rows], device=device)
        self.top_p = torch.tensor([row.top_p for row in rows], device=device)

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows go on."""
        self.draws, self.at = self.draws[rows], self.at[rows]
        self.temperature, self.top_p = self.temperature[rows], self.top_p[rows]

    def join(self, other: Chance) -> None:
        """Take the rows of another one in."""
        import torch

        steps = max(self.draws.shape[1], other.draws.shape[1])
        both = (torch.nn.functional.pad(part.draws, (0, steps - part.draws.shape[1])) for part in (self, other))
        self.draws, self.at = torch.cat(list(both)), torch.cat([self.at, other.at])
        self.temperature = torch.cat([self.temperature, other.temperature])
        self.top_p, self.any = torch.cat([self.top_p, other.top_p]), self.any or other.any

    def choose(self, logits: torch.Tensor, greedy: torch.Tensor) -> torch.Tensor:
        """`greedy` with the sampled rows' tokens in place; `logits` is (rows, vocab). Each row is a step further."""
        import torch

        self.at = self.at + 1
        sampled = (self.temperature > 0).nonzero().squeeze(-1) if self.any else self.at[:0]  # (sampled)
        if len(sampled) == 0:
            return greedy
        mass = torch.softmax(logits[sampled] / self.temperature[sampled, None], dim=-1)  # (sampled, vocab)
        draws = self.draws[sampled, (self.at[sampled] - 1).clamp(max=self.draws.shape[1] - 1)]  # (sampled)
        whole = self.top_p[sampled] >= 1
        chosen = torch.empty_like(sampled)
        if bool(whole.any()):
            chosen[whole] = _invert(mass[whole], draws[whole])
        if not bool(whole.all()):
            chosen[~whole] = choose_in_nucleus(mass[~whole], self.top_p[sampled][~whole], draws[~whole])
        return greedy.index_copy(0, sampled, chosen)


def choose_in_nucleus(mass: torch.Tensor, top_p: torch.Tensor, draws: torch.Tensor, likely: int = 256) -> torch.Tensor:
    """An entry of each row's nucleus: the likeliest entries whose mass together reaches `top_p`. Returns (rows).

    A nucleus that is not within the `likely` likeliest entries is looked for among all.
    """
    import torch

    size = mass.shape[-1]
    ordered, index = mass.topk(min(likely, size), dim=-1)  # (rows, likely)
    chosen = index.gather(-1, _invert(_cut(ordered, top_p), draws)[:, None]).squeeze(-1)
    wide = (ordered.sum(-1) < top_p).nonzero().squeeze(-1)  # (wide)
    if len(wide) and likely < size:
        found = choose_in_nucleus(mass[wide], top_p[wide], draws[wide], likely=size)
        chosen = torch.index_copy(chosen, 0, wide, found)
    return chosen


def _cut(ordered: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    before = ordered.cumsum(-1) - ordered  # what the likelier entries hold already
    return ordered.masked_fill(before >= top_p.clamp(min=1e-9)[:, None], 0.0)


def _invert(mass: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The entry at which the cumulated mass passes the drawn share of it; (rows, entries), (rows) -> (rows)."""
    import torch

    total = mass.cumsum(-1, dtype=torch.float64)
    point = draws[:, None] * total[:, -1:]
    return torch.searchsorted(total, point, right=True).squeeze(-1).clamp(max=mass.shape[-1] - 1)
