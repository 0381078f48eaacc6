"""LaMini-LM's topic-guided generation (arXiv 2304.14402): as `lamini_example`, but about three topics.

The topics come from a list that ships with the package, or from a file of yours: JSON lines with a `topic`, or plain
text with one a line. Each list of instructions draws three of them by (seed, number).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from data_gen.formats import read_rows
from data_gen.records import DataError
from data_gen.strategies.asking import fingerprint
from data_gen.strategies.lamini_example import LaminiExample
from data_gen.strategies.self_instruct import drawn
from data_gen.strategies.tasks import FOLDER

TOPICS = FOLDER / "topics_zh.jsonl"
TOPICS_SHOWN = 3


class LaminiTopic(LaminiExample):
    """Endless rows about topics."""

    name = "lamini_topic"

    def __init__(
        self,
        topics: str | None = None,
        seeds: str | None = None,
        template: str = "qa",
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 2048,
        seed: int = 0,
        tasks_per_request: int = 20,
        answer_temperature: float = 0.0,
    ) -> None:
        path = Path(topics) if topics else TOPICS
        self.topics = read_topics(path)
        super().__init__(
            seeds, template, temperature, top_p, max_tokens, seed, tasks_per_request, answer_temperature,
            topics=fingerprint(path),
        )  # fmt: skip

    def _list(self, number: int) -> tuple[str, dict[str, Any], list[str]]:
        seeds = drawn(self.seeds, f"{self.seed}:{number}")
        topics = random.Random(f"{self.seed}:{number}:topics").sample(self.topics, min(TOPICS_SHOWN, len(self.topics)))
        about = f"，内容要围绕这些话题：{'、'.join(topics)}"
        meta = {"seed_ids": [task.id for task in seeds], "topics": topics}
        return self._text(seeds, about), meta, [task.instruction for task in seeds]


def read_topics(path: Path) -> list[str]:
    """Topics of a file, each once; DataError names a row without one."""
    topics: list[str] = []
    for row in read_rows(path):
        value = row.value if isinstance(row.value, dict) else {}
        topic = value.get("topic") or value.get("text")
        if not isinstance(topic, str) or not topic.strip():
            raise DataError(f"{path}, line {row.line}: a topic stands in the field 'topic' or on a line of its own")
        topics.append(topic.strip())
    return list(dict.fromkeys(topics))
