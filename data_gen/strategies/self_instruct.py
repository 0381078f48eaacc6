"""Self-Instruct (arXiv 2212.10560) in the Chinese form: three seed tasks are shown, the teacher writes more like them.

Request k shows three seeds of different kinds, drawn by (seed, k) alone, and asks for `tasks_per_request` numbered
tasks, each with 指令 / 输入 / 输出. A task that only says a shown one again is turned down.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from data_gen.records import Record
from data_gen.strategies import Ask, State
from data_gen.strategies.asking import NO_MEDIA
from data_gen.strategies.reading import is_json
from data_gen.strategies.seeded import FromSeeds
from data_gen.strategies.tasks import NO_INPUT, parse_tasks, shown
from teachers.base import Completion, Request

ASK = f"""\
请你写出{{n}}个新的、各不相同的中文任务，并给出每个任务的正确解答。要求：
1. 任务的类型、主题和说法要多样，不要与示例重复，动词也尽量不重复；
2. 任务{NO_MEDIA}；
3. “指令”用一两句话说清要做什么；“输入”是完成任务所需的具体材料，不需要时写“{NO_INPUT}”；
4. “输出”直接给出准确、完整的解答，用简体中文（翻译、代码等任务除外）；
5. 严格按照示例的格式，从第{{first}}个任务写到第{{last}}个任务，不要写别的话。

示例：
{{examples}}"""


class SelfInstruct(FromSeeds):
    """Endless requests for `tasks_per_request` new tasks each."""

    name = "self_instruct"
    prompts = (ASK,)

    def requests(self, state: State) -> Iterator[Request]:
        """Another three seeds each time."""
        for number in count():
            seeds = self.drawn(number)
            meta = {"seed_ids": [task.id for task in seeds]}
            done = {"shown": [task.instruction for task in seeds]}
            key = f"{self.name}-{number}"
            yield self.ask(key, self._text(seeds), state.local, (number, ""), meta=meta, done=done)

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """All tasks in an answer; when it broke off, its last task is marked as truncated."""
        records = parse_tasks(completion.text)
        breaks = completion.finish_reason == "length" and not is_json(completion.text)  # of JSON what is whole is read
        for n, record in enumerate(records, 1):
            broken = breaks and n == len(records)
            record.meta["finish_reason"] = "length" if broken else "stop"
            if isinstance(request, Ask):
                record.meta.update(request.meta)
                if "shown" in request.done and (example := self.copied(record.instruction, request)):
                    record.meta |= {"failed": "copy of an example", "neighbour": example}
        return records

    def _text(self, seeds: list[Record]) -> str:
        examples = "\n\n".join(shown(task, n) for n, task in enumerate(seeds, 1))
        first = len(seeds) + 1
        return ASK.format(n=self.listed, first=first, last=first + self.listed - 1, examples=examples)
