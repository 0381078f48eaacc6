"""Self-chat (Baize, arXiv 2304.01196): the teacher plays both sides of a conversation that starts from a topic.

Topics are the questions of a file of yours, or else the topic list of the package. One request gives one conversation:
its turns become `history`, the last question `instruction`, the last answer `output`. A conversation that broke off
keeps its whole turns.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from data_gen.records import Record
from data_gen.strategies import Ask, State
from data_gen.strategies.answer import read_tasks
from data_gen.strategies.asking import Asking, Draws, at_least_one, failed, fenced, fingerprint
from data_gen.strategies.evolve import asked
from data_gen.strategies.lamini_topic import TOPICS, read_topics
from data_gen.strategies.reading import is_json, json_items, json_text, labels, parts, plain, said
from teachers.base import Completion, Request

ASK = """\
请写出一段用户与智能助手的中文对话，共{turns}轮，一问一答为一轮。要求：
1. {start}；
2. 以后每一轮，用户都接着上文往下问：追问细节，说出自己的情况，或转到相关的另一面；说法自然简短，不寒暄，不道谢；
3. 助手的回答准确、具体、完整，不反问，不提自己是人工智能；
4. 对话不涉及图片、音频、视频，也不涉及要上网才知道的事；
5. 每段话另起一行，用户的话以“用户：”开头，助手的话以“助手：”开头，除此之外什么都不要写。

{topic}"""
FROM_TOPIC = "用户先开口，就标记之间的话题问一个具体的问题"
FROM_QUESTION = "用户的第一句话就是标记之间的问题，原样照抄"

_SPEAKER = labels(
    {
        "user": "用户|使用者|人类|提问者|user|human|问|Q",
        "helper": "(?:ai|智能)?(?:助手|助理)|机器人|assistant|AI|bot|答|A",
    }
)


class SelfChat(Asking):
    """One conversation of `turns` turns a topic; endless over the topic list, one each over a file's questions."""

    name = "self_chat"
    per_request = 1

    def __init__(
        self,
        instructions: str | None = None,
        topics: str | None = None,
        template: str = "qa",
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 2048,
        seed: int = 0,
        turns: int = 4,
    ) -> None:
        at_least_one(turns=turns)
        self.path = Path(instructions) if instructions else None
        self.turns = turns
        self.topics = read_topics(Path(topics) if topics else TOPICS) if self.path is None else []
        self.total: int | None = sum(1 for _ in read_tasks(self.path)) if self.path else None
        more: dict[str, Any] = {} if self.path else {"topics": fingerprint(Path(topics) if topics else TOPICS)}
        super().__init__(
            (ASK, FROM_TOPIC, FROM_QUESTION), template, temperature, top_p, max_tokens, seed, turns=turns, **more
        )
        self.inputs = {"instructions": fingerprint(self.path)} if self.path else {}

    def requests(self, state: State) -> Iterator[Request]:
        """A conversation after the other, each from its topic."""
        for number, (start, topic, draw, meta) in enumerate(self._starts()):
            text = ASK.format(turns=self.turns, start=start, topic=fenced(topic, "话题"))
            yield self.ask(f"self_chat-{number}", text, state.local, draw or (number, ""), meta=meta)

    def _starts(self) -> Iterator[tuple[str, str, tuple[int, str] | None, dict[str, Any]]]:
        if self.path:
            draws = Draws()
            for record in read_tasks(self.path):
                yield FROM_QUESTION, asked(record), draws.of(record), {"seed_ids": [record.id]}
            return
        for lap in count():  # every topic once, then all again in another order
            for topic in random.Random(f"{self.seed}:{lap}").sample(self.topics, len(self.topics)):
                yield FROM_TOPIC, topic, None, {"topics": [topic]}

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """The conversation as a record, or why there is none."""
        meta = dict(request.meta) if isinstance(request, Ask) else {}
        turns = parse_dialogue(completion.text, broken=completion.finish_reason == "length")
        if not turns:
            broke = completion.finish_reason == "length"
            return [failed("truncated" if broke else "no conversation in the answer", completion.text[:200], **meta)]
        (question, answer), history = turns[-1], turns[:-1]
        meta |= {"turns": len(turns), "finish_reason": "stop"}  # what is kept is whole
        return [Record(question, output=answer, history=history, meta=meta)]


def parse_dialogue(text: str, broken: bool = False) -> list[list[str]]:
    """[question, answer] turns of a transcript; greetings before the first question and questions without an answer
    are left out, and the last turn when the text broke off in it."""
    text = said(text)
    told = _from_json(text) if is_json(text) else []
    whole = bool(told)  # of JSON only what is whole is read
    told = told or _from_labels(text) or _from_json(text)
    if broken and not whole and told and told[-1][0] == "helper":
        told = told[:-1]
    turns: list[list[str]] = []
    question = ""
    for speaker, words in told:
        if speaker == "user":
            question = f"{question}\n{words}" if question else words
        elif question:
            turns.append([question, words])
            question = ""
        elif turns:
            turns[-1][1] += f"\n{words}"
    return [turn for turn in turns if turn[0].strip() and turn[1].strip()]


def _from_labels(text: str) -> list[tuple[str, str]]:
    """The labels that the transcript begins with; a label of another pair (a 问：in an answer) is text."""
    pair: dict[str, str] = {}
    starts = []
    for match in _SPEAKER.finditer(plain(text)):
        kind = match.lastgroup or ""
        if pair.setdefault(kind, match.group(kind).casefold()) == match.group(kind).casefold():
            starts.append(match)
    return [(match.lastgroup or "", words) for match, words in parts(text, starts)]


def _from_json(text: str) -> list[tuple[str, str]]:
    """Turns of JSON objects: one with a speaker and what they say, or with what each of them says."""
    told: list[tuple[str, str]] = []
    for item in json_items(text):
        turn = {name: json_text(value).strip() for name, value in item.items()} if isinstance(item, dict) else {}
        values = list(turn.values())
        if len(values) == 2 and (label := _SPEAKER.match(plain(f"{values[0]}："))):
            told.append((label.lastgroup or "", values[1]))
            continue
        speakers = ((_SPEAKER.match(plain(f"{name}：")), words) for name, words in turn.items())
        told += [(label.lastgroup or "", words) for label, words in speakers if label]
    return told
