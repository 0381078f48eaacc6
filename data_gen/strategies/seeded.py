"""What the strategies that show seed tasks share: the seeds, and which of them a request shows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar

from data_gen.records import Record
from data_gen.strategies import Ask
from data_gen.strategies.asking import Asking, at_least_one, fingerprint
from data_gen.strategies.tasks import SEEDS, copied, read_seeds

SHOWN = 3


class FromSeeds(Asking):
    """Base of endless strategies that show `SHOWN` seed tasks and ask for `tasks_per_request` more."""

    prompts: ClassVar[tuple[str, ...]] = ()
    """What a subclass asks with"""
    total: int | None = None

    def __init__(
        self,
        seeds: str | None = None,
        template: str = "qa",
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 2048,
        seed: int = 0,
        tasks_per_request: int = 5,
    ) -> None:
        path = Path(seeds) if seeds else SEEDS
        self.seeds = read_seeds(path)
        at_least_one(tasks_per_request=tasks_per_request)
        self.listed = self.per_request = tasks_per_request
        super().__init__(
            self.prompts, template, temperature, top_p, max_tokens, seed,
            tasks_per_request=tasks_per_request, seeds=fingerprint(path),
        )  # fmt: skip

    def copied(self, instruction: str, request: Ask) -> dict[str, Any] | None:
        """The seed task shown by a request that an instruction only says again."""
        ids = ({"id": seed} for seed in request.meta["seed_ids"])
        return copied(instruction, zip(request.done["shown"], ids, strict=True))

    def drawn(self, number: int) -> list[Record]:
        """The seeds that request `number` shows, of different kinds, by (seed, number) alone."""
        draw = random.Random(f"{self.seed}:{number}")
        kinds = draw.sample(sorted(self.seeds), min(SHOWN, len(self.seeds)))
        return [draw.choice(self.seeds[kind]) for kind in kinds]
