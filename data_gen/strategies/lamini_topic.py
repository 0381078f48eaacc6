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
from data_gen.strategies.tasks import FOLDER

TOPICS = FOLDER / "topics_zh.jsonl"
TOPICS_SHOWN = 3


class LaminiTopic(LaminiExample):
    """Endless rows about topics."""

    name = "lamini_topic"

    def __init__(self, *, topics: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        path = Path(topics) if topics else TOPICS
        self.topics = read_topics(path)
        self.settings["topics"] = fingerprint(path)

    def _list(self, number: int) -> tuple[str, dict[str, Any], list[str]]:
        seeds = self.drawn(number)
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
