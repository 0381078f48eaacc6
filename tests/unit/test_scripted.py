"""The scripted teacher keeps to its script."""

from __future__ import annotations

from teachers.base import Request, TextTeacher
from teachers.scripted import ScriptedTeacher


def ask(n: int, text: str = "问题", **more: object) -> Request:
    return Request(f"r{n}", [{"role": "user", "content": text}], **more)  # type: ignore[arg-type]


def test_answers_by_what_was_said_last_and_out_of_order() -> None:
    teacher = ScriptedTeacher({"你好": "您好！", "再见": "再会。"}, batch_size=3)
    assert isinstance(teacher, TextTeacher)
    got = list(teacher.generate([ask(0, "你好"), ask(1, "再见"), ask(2, "?")]))
    assert [(c.key, c.text) for c in got] == [("r2", ""), ("r1", "再会。"), ("r0", "您好！")]
    assert [request.key for request in teacher.asked] == ["r0", "r1", "r2"]


def test_echo_depends_on_question_and_seed_only() -> None:
    one, two = (list(ScriptedTeacher().generate([ask(0), ask(1, seed=5)])) for _ in range(2))
    assert one == two
    assert one[0].text != one[1].text


def test_failures_and_the_end_of_the_quota() -> None:
    teacher = ScriptedTeacher(failures={"r0": 1}, fatal_after=2, batch_size=1)
    got = list(teacher.generate([ask(0), ask(0), ask(1), ask(2)]))
    assert [(c.error is None, c.fatal) for c in got] == [(False, False), (True, False), (True, False), (False, True)]


def test_length() -> None:
    (got,) = ScriptedTeacher(lambda request: "很长的回答").generate([ask(0, max_tokens=2)])
    assert (got.text, got.finish_reason) == ("很长", "length")
