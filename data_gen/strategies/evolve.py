"""Evol-Instruct (arXiv 2304.12244): the teacher makes a task harder or finds a rarer one, then answers it.

Row (task, pass, round) evolves its task `round` times, each time by a way drawn by the seed, and asks for the answer.
Rounds share their beginnings: round 2 starts with the very request of round 1, which is paid for once. With `judge`
the teacher also says whether the last evolution changed anything. What failed is turned down with its reason, as the
paper does it: nothing new in it, words of the prompt in it, no answer to it, or one that says nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_gen.normal import characters
from data_gen.novelty import similarity
from data_gen.records import DataError, Record
from data_gen.refusals import is_refusal
from data_gen.strategies import Ask, State
from data_gen.strategies.answer import read_tasks
from data_gen.strategies.asking import NO_MEDIA, Asking, at_least_one, failed, fenced, fingerprint
from data_gen.strategies.reading import is_json, json_items, json_text, plain, said, trimmed
from data_gen.strategies.tasks import SEEDS
from teachers.base import Completion, Request

DEEPER = f"""\
请把下面标记之间的任务改得更难一些，让它对最强的语言模型也是考验。要求：
1. 改的办法：{{way}}；
2. 改后的任务合情合理，人能看懂也能回答，{NO_MEDIA}；
3. 只比原来多出一两句话，最多多六十个字；
4. 任务里已有的材料（数字、表格、代码、引文）原样保留；
5. 不要回答任务，不要解释改动，也不要提到“原任务”“改写”“标记”，只写改好的任务本身。

{{task}}"""
BROADER = f"""\
请从下面标记之间的任务得到启发，另出一个全新的任务。要求：
1. 与它属于同一领域，但更少见、更冷门，说法也不同；
2. 难度和长度与它相近，合情合理，{NO_MEDIA}；
3. 需要的材料完整地写在任务里；
4. 不要回答任务，不要解释，也不要提到“原任务”“改写”“标记”，只写新任务本身。

{{task}}"""
WAYS = {
    "constraints": "增加一两个具体的限制或要求",
    "deepen": "如果它只问到表面，就问得更深、更广",
    "concretise": "把笼统的说法换成更具体的对象、数字或情境",
    "reasoning": "如果它一两步就能想清楚，就改成明确要求多步推理",
    "input": "加进一小段完成任务所需的材料，例如数据、表格、代码或一段文字",
    "broaden": "",
}
JUDGE = """\
下面两个任务是否实质相同？条件和要求相同，并且要考虑的深度和广度也相同，才算相同。
只回答“相同”或“不同”，不要写别的话。

{first}

{second}"""

_LEAKS = re.compile(
    r"原任务|给定的?任务|改写后|改[后好]的任务|改写的任务|上述标记|标记之间|(?:rewritten|given) (?:prompt|task)",
    re.IGNORECASE,
)
_HEAD = re.compile(
    r"\W*(?:(?:好的?|当然)\W{1,3})?(?:(?:以下|下面|这)(?:就?是|为))?(?:我)?"
    r"(?:(?:改[好写]?后?的?|新的?|更难的?|进化后的?)?(?:任务|指令|问题)|(?:(?:rewritten|new|evolved) )?(?:task|prompt))"
    r"(?:如下)?\W*?:\W*",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"\A(?:好的?|当然|當然|没问题|沒問題|sure|okay|here (?:is|are))[^\n]{0,40}[:：]\s*\n", re.IGNORECASE
)
_EXPLAINS = re.compile(
    r"\n\s*(?:\((?:说明|注|解释|改动)[^\n]{0,4}:[^\n]*\)|(?:改[动写]说明|修改说明|解释|改动)[^\n]{0,2}:[^\n]*)\s*\Z"
)
"""A last line about the change"""
_CANNOT = re.compile(r"抱歉|对不起|很遗憾|无法(?:回答|完成|提供)|sorry", re.IGNORECASE)
_SAME = re.compile(r"(?<!不)(?<!并非)(?<!非)相同|(?<!不)一样|\b(?:same|equal|identical)\b", re.IGNORECASE)
_OTHER = re.compile(r"不(?:相|太|完全|尽)?(?:相同|同|一样)|(?:并非|非)相同|\b(?:differ|not)", re.IGNORECASE)
SHORT_ANSWER = 80
"""Characters: a shorter answer that apologises is none"""
_EMPTY_WORDS = set("的了吗呢吧啊呀是好对嗯哦和与及在有这那就都也很不我你他它")


class Evolve(Asking):
    """`rounds` rows a task and pass, over the tasks of a file (or the seed tasks of the package)."""

    name = "evolve"
    per_request = 1

    def __init__(
        self,
        instructions: str | None = None,
        template: str = "qa",
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 1024,
        seed: int = 0,
        rounds: int = 1,
        passes: int = 1,
        judge: bool = True,
        answer_temperature: float = 0.0,
    ) -> None:
        at_least_one(rounds=rounds, passes=passes)
        self.path = Path(instructions) if instructions else SEEDS
        self.rounds, self.passes, self.judge, self.answer_temperature = rounds, passes, bool(judge), answer_temperature
        count = sum(1 for _ in read_tasks(self.path))
        if not count:
            raise DataError(f"{self.path} holds no tasks to evolve")
        self.total: int | None = count * passes * rounds
        super().__init__(
            (DEEPER, BROADER, JUDGE, *WAYS.values()), template, temperature, top_p, max_tokens, seed, rounds=rounds,
            passes=passes, judge=self.judge, answer_temperature=answer_temperature,
        )  # fmt: skip
        self.inputs = {"instructions": fingerprint(self.path)}

    def requests(self, state: State) -> Iterator[Request]:
        """Pass after pass over the tasks, each in all its rounds."""
        for turn in range(self.passes):
            for task in read_tasks(self.path):
                for rounds in range(1, self.rounds + 1):
                    done = {"task": asked(task), "texts": [], "ways": [], "id": task.id, "turn": turn, "rounds": rounds}
                    yield self._evolve(done, state.local)

    def _evolve(self, done: dict[str, Any], local: bool) -> Ask:
        """The next evolution; what it asks depends on the seed, the task, the pass and the round alone."""
        before = done["texts"][-1] if done["texts"] else done["task"]
        at = len(done["texts"])
        way = random.Random(f"{self.seed}:{done['id']}:{done['turn']}:{at}").choice(list(WAYS))
        text = BROADER if way == "broaden" else DEEPER
        key = f"evolve-{done['id']}-{done['turn']}-{done['rounds']}-{at}"
        return self.ask(
            key, text.format(way=WAYS[way], task=fenced(before, "任务")), local, (done["turn"], f"{done['id']}-{at}"),
            step="evolve", done={**done, "ways": [*done["ways"], way]}, meta={"seed_ids": [done["id"]]},
        )  # fmt: skip

    def follow_up(self, request: Request, completion: Completion) -> Request | None:
        """The next round, the judgement, the answer; None when an evolution failed."""
        if not isinstance(request, Ask) or request.step == "answer" or self._failure(request, completion):
            return None
        done, local = request.done, request.prompt is not None
        if request.step == "evolve":
            done = {**done, "texts": [*done["texts"], evolved(completion.text)]}
            if len(done["texts"]) < done["rounds"]:
                return self._evolve(done, local)
        about: dict[str, Any] = {"done": done, "meta": {**request.meta, "evolution": done["ways"]}}
        if request.step == "evolve" and self.judge:
            before = [done["task"], *done["texts"]][-2]
            text = JUDGE.format(first=fenced(before, "任务一"), second=fenced(done["texts"][-1], "任务二"))
            return self.ask(
                f"{request.key}-judge", text, local, None, temperature=0, max_tokens=16, step="judge", **about
            )
        record = Record(done["texts"][-1])
        return self.ask(
            f"{request.key}-answer", record, local, (done["turn"], f"{done['id']}-{done['rounds']}-answer"),
            temperature=self.answer_temperature, step="answer", record=record, **about,
        )  # fmt: skip

    def expected(self, request: Request) -> str:
        """An evolution, or a judgement, as it may come."""
        if not isinstance(request, Ask) or request.step != "evolve":
            return "不同"
        done = request.done
        return f"{done['texts'][-1] if done['texts'] else done['task']}，再举出{len(done['texts']) + 2}个具体的例子"

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """The evolved task with its answer, or why the evolution failed."""
        if not isinstance(request, Ask):
            return []
        reason = self._failure(request, completion)
        text = evolved(completion.text) if request.step == "evolve" else request.done["texts"][-1]
        meta = {**request.meta, "evolution": request.done["ways"]}
        if reason == "evolution changed nothing":
            before = [request.done["task"], *request.done["texts"]]
            meta["neighbour"] = self._unchanged(text, before if request.step == "evolve" else before[-2:-1], request)
        if reason:
            return [failed(reason, text, **meta)]
        return [Record(text, output=completion.text.strip(), meta=meta)]

    def _unchanged(self, text: str, before: list[str], request: Ask) -> dict[str, Any]:
        """Which of the texts before it an evolution is nearest to."""
        said = characters(text)
        score, there = max((similarity(said, characters(other)), characters(other)) for other in before)
        return {"id": request.done["id"], "text": there, "rouge_l": round(score, 4)}

    def _failure(self, request: Ask, completion: Completion) -> str:
        """Why nothing comes of it: the paper's four kinds of failed evolutions; "" when all is well."""
        if request.step == "judge":
            judged = plain(said(completion.text))
            return "evolution changed nothing" if _SAME.search(judged) and not _OTHER.search(judged) else ""
        if request.step == "answer":
            answer = characters(completion.text)
            if len(answer) < SHORT_ANSWER and _CANNOT.search(plain(completion.text)):
                return "evolution cannot be answered"
            return "" if set(answer) - _EMPTY_WORDS or not answer else "evolution got an answer that says nothing"
        text, before = evolved(completion.text), [request.done["task"], *request.done["texts"]]
        if not characters(text) or completion.finish_reason == "length":
            return "evolution broke off" if completion.finish_reason == "length" else "evolution is empty"
        if is_refusal(before[-1], text):
            return "evolution is a refusal"
        if (leak := _LEAKS.search(plain(text))) and leak.group() not in plain(before[0]):
            return "evolution copies the prompt"
        return "evolution changed nothing" if characters(text) in map(characters, before) else ""


def evolved(text: str) -> str:
    """The task in a teacher's answer, without the marks, fences and headings it may have put around it."""
    text = said(text)
    items = json_items(text) if is_json(text) else []
    if len(items) == 1 and isinstance(items[0], dict) and len(items[0]) == 1:
        text = json_text(next(iter(items[0].values())))
    text = re.sub(r"</?任[务務][一二]?(?:\s*[0-9a-f]{8})?>", "", text).strip()
    text = trimmed(_GREETING.sub("", text, count=1))
    if told := _EXPLAINS.search(plain(text)):
        text = text[: told.start()]
    if not is_json(text) and (head := _HEAD.match(plain(text))):
        text = text[head.end() :].strip()
    if "```" not in text[3:-3]:
        text = re.sub(r"\A```\w*\n(.*)\n```\Z", r"\1", text, flags=re.S).strip()
    if len(re.findall(r"^\s*\d+[.、](?!\d)", plain(text), re.M)) == 1:  # a list of one
        text = re.sub(r"\A\s*[0-9０-９]+[.．、](?!\d)\s*", "", text)
    whole = re.fullmatch(r"[“\"「]([^“”\"「」]+)[”\"」]", text)
    return (whole.group(1) if whole else text).strip("*").strip()


def asked(record: Record) -> str:
    """Instruction and input as one text."""
    return f"{record.instruction}\n{record.input}" if record.input else record.instruction
