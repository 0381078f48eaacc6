"""Money: prices in a file, a budget that is not overdrawn, answers in several parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data_gen.budget import Budget
from data_gen.continuing import GO_ON, join
from data_gen.job import run
from data_gen.prices import SHIPPED, Price, missing, price_of, read_prices
from data_gen.records import DataError, read_records
from data_gen.strategies.answer import Answer
from data_gen.strategies.magpie import Magpie
from teachers.base import Completion, Request
from teachers.scripted import ScriptedTeacher, said

PRICE = Price(input=1.0, output=2.0)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def questions(count: int) -> Answer:
    Path("in.jsonl").write_text("".join(f'{{"instruction": "第{n}个问题是什么？"}}\n' for n in range(count)))
    return Answer("in.jsonl", max_tokens=100)


def long_answer(request: Request) -> str:
    return f"{said(request)}的回答" + "".join(chr(0x4E00 + 7 * n) for n in range(60))


def request(key: str = "r", text: str = "问题" * 50, most: int = 1000) -> Request:
    return Request(key, [{"role": "user", "content": text}], max_tokens=most)


def test_prices_are_looked_up_by_name() -> None:
    shipped = read_prices(SHIPPED)
    assert price_of("gpt-4o-mini") == price_of("gpt-4o-mini-2024-07-18") == shipped["gpt-4o-mini"]
    assert price_of("openai/gpt-4o-mini-2024-07-18") == shipped["gpt-4o-mini"]
    assert price_of("openai/gpt-4o") == shipped["gpt-4o"] != shipped["gpt-4o-mini"]
    assert price_of("gpt-4o-mini-but-mine") is None
    assert all(price.output >= price.input > 0 for price in shipped.values())
    own = "models: {gpt-4o: {input: 1, output: 2}, mine: {input: 3, output: 4}}"
    Path("prices.yaml").write_text(f"currency: ¥\n{own}\n", encoding="utf-8")
    assert price_of("gpt-4o") == Price(1, 2, currency="¥")
    assert price_of("mine") == Price(3, 4, currency="¥")
    assert price_of("gpt-4o-mini") == shipped["gpt-4o-mini"]


def test_what_an_answer_costs() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    assert Price(2.0, 10.0).of(usage) == pytest.approx(0.007)
    assert Price(2.0, 10.0).of({**usage, "cached_tokens": 400}) == pytest.approx(0.007)
    assert Price(2.0, 10.0, cached=0.5).of({**usage, "cached_tokens": 400}) == pytest.approx(0.0064)
    assert Price(2.0, 10.0).of(usage, 0.5) == pytest.approx(0.0035)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: {m: {input: 1}}", "needs 'input' and 'output'"),
        ("models: {m: {input: 1, output: -1}}", "output of m must be a number from 0 on"),
        ("models: {m: {input: .nan, output: 1}}", "input of m must be a number from 0 on"),
        ("models: {m: {input: 1, output: 1, cache: 1}}", "has no 'cache' (did you mean 'cached'?)"),
        ("m: 3", "must hold 'models:'"),
        ("models: [", "is not valid YAML, line 1"),
    ],
)
def test_price_files_that_are_wrong(text: str, says: str) -> None:
    Path("prices.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        price_of("m")
    assert says in str(caught.value)
    assert "gpt-4o-mini" in str(missing("gpt-4o-minii", SHIPPED))


@pytest.mark.parametrize("limits", [{"money": 0}, {"money": -1.0}, {"tokens": 0}, {"money": True}])
def test_a_budget_of_nothing(limits: dict[str, float]) -> None:
    with pytest.raises(DataError, match="must be above 0"):
        Budget(PRICE, **limits)  # type: ignore[arg-type]


def test_promises_fit_into_the_budget() -> None:
    budget = Budget(PRICE, money=0.01)
    made = [budget.promise(request(f"r{n}")) for n in range(10)]
    assert made == [True] * 4 + [False] * 6  # 0.0001 to read and 0.002 to write each
    for n in range(4):
        budget.settle(Completion(f"r{n}", "答", usage={"prompt_tokens": 100, "completion_tokens": 500}))
    assert budget.spent_money == pytest.approx(4 * 0.0011)
    assert budget.promise(request("r5"))


def test_lengths_are_learnt() -> None:
    budget = Budget(PRICE, tokens=10_000)
    for n in range(30):
        assert budget.promise(request(f"r{n}", most=5000))
        budget.settle(Completion(f"r{n}", "答", usage={"prompt_tokens": 95, "completion_tokens": 50 + n % 3}))
    assert budget.spent_tokens == 30 * 146
    waiting = [budget.promise(request(f"w{n}", most=5000)) for n in range(50)]
    assert sum(waiting) == (10_000 - 30 * 146) // (95 + 53)


def estimate_of(rows: int, **options: object) -> str:
    told: list[str] = []
    run(questions(rows), ScriptedTeacher(long_answer), "out.jsonl", tell=told.append, **options)  # type: ignore[arg-type]
    return " ".join(told)


def test_it_stops_within_what_is_in_flight_and_goes_on() -> None:
    strategy = questions(60)
    each = PRICE.of({"prompt_tokens": 9, "completion_tokens": 73})
    limit = 20 * each
    budget = Budget(PRICE, money=limit)
    teacher = ScriptedTeacher(long_answer, batch_size=8)
    report = run(strategy, teacher, "out.jsonl", budget=budget)
    assert 15 <= len(teacher.asked) <= 20
    assert budget.spent_money <= limit
    assert (report.accepted, report.failed, report.complete) == (len(teacher.asked), 0, False)
    assert "stopped at the budget" in report.stopped
    assert len(list(read_records("out.jsonl"))) == report.accepted
    again = ScriptedTeacher(long_answer)
    assert run(strategy, again, "out.jsonl", budget=Budget(PRICE, money=limit)).stopped
    assert len(again.asked) <= 1  # what was left over
    more = Budget(PRICE, money=1.0)
    report = run(strategy, ScriptedTeacher(long_answer), "out.jsonl", budget=more)
    assert (report.accepted, report.complete, report.stopped) == (60, True, "")
    assert more.spent_money == pytest.approx(60 * each, rel=0.05)


def test_rows_that_are_paid_come_out_when_the_budget_is_spent() -> None:
    """One row of 20 was changed: the other 19 are in the journal and are written, whatever is left."""
    run(questions(20), ScriptedTeacher(long_answer), "out.jsonl")
    path = Path("in.jsonl")
    path.write_text(path.read_text().replace("第3个", "第三个"))
    teacher = ScriptedTeacher(long_answer)
    report = run(Answer("in.jsonl", max_tokens=100), teacher, "out.jsonl", budget=Budget(PRICE, tokens=100))
    assert (report.accepted, teacher.asked, report.complete) == (19, [], False)
    teacher = ScriptedTeacher(long_answer)
    report = run(Answer("in.jsonl", max_tokens=100), teacher, "out.jsonl")
    assert (report.accepted, report.complete) == (20, True)
    assert [said(request) for request in teacher.asked] == ["第三个问题是什么？"]


def test_one_changed_row_of_a_thousand_sends_one_request() -> None:
    run(questions(1000), ScriptedTeacher(), "out.jsonl")
    path = Path("in.jsonl")
    path.write_text(path.read_text().replace("第500个", "第五百个"))
    teacher = ScriptedTeacher()
    report = run(Answer("in.jsonl", max_tokens=100), teacher, "out.jsonl")
    assert (len(teacher.asked), report.accepted, report.reused) == (1, 1000, 999)


def test_the_estimate_comes_first() -> None:
    said = estimate_of(40, budget=Budget(PRICE, money=5.0))
    assert said.startswith("estimate: 40 requests, 550 tokens in, 1,000 to 4,000 out; 0.0026 to 0.0086 $")
    assert said.endswith("5.00 of the budget 5 are left")
    assert estimate_of(40, budget=Budget(PRICE, money=5.0)) == ""
    assert estimate_of(50, budget=Budget(PRICE, money=5.0)).startswith(
        "estimate: 10 requests, 140 tokens in, 728 to 1,000 out"
    )


def test_the_progress_line_says_what_was_spent() -> None:
    budget = Budget(PRICE, money=2.5)
    budget.pay({"prompt_tokens": 100_000, "completion_tokens": 10_000})
    assert budget.note() == "110,000 tokens, 0.1200 of 2.5 $"
    assert Budget(tokens=5000).note() == "0 of 5,000 tokens"


def cut_into(size: int) -> Callable[[Request], str]:
    """A teacher's words, `size` a part; it goes on where the conversation says it was."""
    whole = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥"

    def answer(request: Request) -> str:
        before = "".join(m["content"] for m in request.messages if m["role"] == "assistant")
        if request.prompt is not None:
            before = request.prompt.split("答：", 1)[1].lstrip("\n")
        return whole[len(before) :]

    return answer


@pytest.mark.parametrize("local", [False, True])
def test_cut_answers_are_continued(local: bool) -> None:
    Path("in.jsonl").write_text('{"instruction": "背诵天干地支"}\n')
    strategy = Answer("in.jsonl", max_tokens=8)
    teacher = ScriptedTeacher(cut_into(8), local=local)
    report = run(strategy, teacher, "out.jsonl", on_length="continue", filters={"repetition": False})
    (record,) = read_records("out.jsonl")
    assert record.output == "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥"
    assert [len(asked.messages) for asked in teacher.asked] == [1, 3, 3]
    assert teacher.asked[1].messages[-1]["content"] == GO_ON
    assert (record.meta["usage"]["completion_tokens"], record.meta["attempts"], report.complete) == (22, 3, True)
    assert record.meta["request"] == "answer-0"
    assert not run(strategy, teacher, "out.jsonl", on_length="continue", filters={"repetition": False}).ran


def test_cut_answers_are_dropped_kept_or_continued_from_the_same_journal() -> None:
    Path("in.jsonl").write_text('{"instruction": "背诵天干地支"}\n')
    strategy = Answer("in.jsonl", max_tokens=8)
    teacher = ScriptedTeacher(cut_into(8))
    with pytest.raises(DataError, match="'truncated' 1 of 1 times"):
        run(strategy, teacher, "out.jsonl")
    report = run(strategy, teacher, "out.jsonl", on_length="keep")
    assert (report.accepted, len(teacher.asked)) == (1, 1)
    assert run(strategy, teacher, "out.jsonl", on_length="continue").accepted == 1
    assert len(teacher.asked) == 3
    with pytest.raises(DataError, match="unknown way 'kepe' to treat cut answers"):
        run(strategy, teacher, "out.jsonl", on_length="kepe")


def test_what_never_ends_is_dropped() -> None:
    Path("in.jsonl").write_text('{"instruction": "从一数到无穷"}\n')
    teacher = ScriptedTeacher(lambda request: "一二三四五六七八九十")
    with pytest.raises(DataError, match="'truncated' 1 of 1 times"):
        run(Answer("in.jsonl", max_tokens=5), teacher, "out.jsonl", on_length="continue")
    assert len(teacher.asked) == 4


def test_magpie_goes_on_after_a_continued_answer() -> None:
    def chat(request: Request) -> str:
        said = (request.prompt or "").split("答：")[-1].strip()
        return "哪里好玩？\n答：" if request.prompt == "问：" else "杭州的西湖很好玩，"[len(said) :] or "风景好。"

    report = run(Magpie(max_tokens=9), ScriptedTeacher(chat, local=True), "out.jsonl", rows=1, on_length="continue")
    assert report.accepted == 1


def test_repeated_ends_are_left_out() -> None:
    assert join("第一，早睡早起；第二，多", "早起；第二，多喝水。") == "第一，早睡早起；第二，多喝水。"
    assert join("第一，早睡", "早睡") == "第一，早睡早睡"  # too short to be a repetition
    assert join("第一，早睡早起；第二，多", "早起；第二，多喝水。", exact=True).count("早起；第二") == 2


def test_empty_answers_are_never_kept() -> None:
    report = run(
        questions(3), ScriptedTeacher(lambda r: " \n" if "第1" in said(r) else "好的。"), "out.jsonl",
        filters={"empty": False, "length": False},
    )  # fmt: skip
    assert (report.accepted, report.rejected) == (2, {"empty": 1})
