"""Every way of asking as a user runs it, against a server that plays a good teacher; reading a journal again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_gen.strategies import augment
from distill.cli import main
from tests import actor
from tests.fault_server import FaultServer

STORIES = [
    {"story": f"第{n}只小猫叫棉花{n}，住在谷仓里。", "questions": [{"input_text": "小猫住在哪里？"}]} for n in range(4)
]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        running.answer = actor.reply
        yield running


def generate(server: FaultServer, *more: str) -> int:
    return main(["generate", "--teacher", "chatgpt", "--model", "mock", "--base-url", server.url, *more])


def save(name: str, rows: list[Any]) -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


def rows(name: str = "out.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        ["--strategy", "self_instruct", "--rows", "12", "--tasks-per-request", "4"],
        ["--strategy", "lamini_example", "--rows", "12", "--tasks-per-request", "6"],
        ["--strategy", "lamini_topic", "--rows", "12", "--topics", "topics.txt"],
        ["--strategy", "evolve", "--rows", "12", "--no-judge", "--rounds", "2"],
        ["--strategy", "evolve", "--rows", "12", "--judge"],
        ["--strategy", "self_chat", "--rows", "12", "--turns", "2"],
        ["--strategy", "augment", "--instructions", "stories.jsonl", "--tasks-per-request", "3"],
        ["--strategy", "translate", "--instructions", "english.jsonl"],
        ["--strategies", "{self_instruct: {share: 3}, self_chat: {turns: 2}}", "--rows", "12"],
    ],
    ids=lambda options: options[1].split(":")[0].strip("{"),
)
def test_each_strategy_by_the_command(
    options: list[str], server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("topics.txt").write_text("围棋\n昆曲\n茶\n胡同\n", encoding="utf-8")
    save("stories.jsonl", STORIES)
    save("english.jsonl", [{"instruction": f"Name {n} kinds of green tea.", "output": f"tea {n}"} for n in range(12)])
    assert generate(server, *options, "-o", "out.jsonl") == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "out.jsonl: 12 rows" in out
    assert len(rows()) == 12
    asked = server.asked.total()
    assert generate(server, *options, "-o", "out.jsonl") == 0
    assert "is complete" in capsys.readouterr().out
    assert server.asked.total() == asked


def test_a_recipe_with_shares(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    save("hard.jsonl", [{"instruction": f"介绍第{n}种茶"} for n in range(9)])
    Path("mix.yaml").write_text(
        "strategies:\n  self_instruct: {share: 0.5, tasks-per-request: 2}\n  hard: {strategy: evolve, share: 0.3, "
        "instructions: hard.jsonl, judge: false}\n  self_chat: {share: 0.2}\nturns: 2\nrows: 30\nseed: 5\n",
        encoding="utf-8",
    )
    assert generate(server, "--config", "mix.yaml", "-o", "out.jsonl") == 0, capsys.readouterr().err
    assert "by strategy: self_instruct 15 (50%)" in capsys.readouterr().out.replace("hard 9 (30%), ", "").replace(
        "self_chat 6 (20%), ", ""
    )
    assert {row["meta"]["seed"] for row in rows()} == {5}
    assert generate(server, "--config", "mix.yaml", "--rows", "34", "-o", "out.jsonl") == 0
    assert len(rows()) == 34


def test_a_better_parser_reads_the_journal_again_for_nothing(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("stories.jsonl", STORIES)
    command = ["--strategy", "augment", "--instructions", "stories.jsonl", "-o", "out.jsonl"]
    good = augment.parse_pairs
    with monkeypatch.context() as patch:
        patch.setattr(augment, "parse_pairs", lambda text: good(text)[:1])
        assert generate(server, *command) == 0
    assert len(rows()) == 4
    journal, asked = Path("out.jsonl.journal").read_bytes(), server.asked.total()
    # Neither a key nor a server is needed for it.
    assert main(["generate", "--teacher", "chatgpt", "--model", "mock", *command, "--reparse"]) == 0
    assert "out.jsonl: 20 rows" in capsys.readouterr().out
    assert len(rows()) == 20
    assert Path("out.jsonl.journal").read_bytes() == journal
    assert server.asked.total() == asked


def test_reparsing_an_unfinished_run_gives_what_is_there(
    server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--strategy", "self_chat", "--turns", "1", "-o", "out.jsonl", "--rows", "40"]
    server.plan = lambda number, attempt: "quota" if sum(server.answered.values()) >= 15 else None
    assert generate(server, *command, "--concurrency", "1") == 2
    assert not Path("out.jsonl").exists()
    asked = server.asked.total()
    assert main(["generate", "--teacher", "chatgpt", "--model", "mock", *command, "--reparse"]) == 0
    assert len(rows()) == 15
    assert server.asked.total() == asked
    server.plan = lambda number, attempt: None
    assert generate(server, *command) == 0, "and the same command goes on"
    assert len(rows()) == 40
    assert server.asked.total() == asked + 25


def test_existing_sets_are_kept_away_from(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--strategy", "self_chat", "--turns", "1", "--rows", "10"]
    assert generate(server, *command, "-o", "first.jsonl") == 0
    save("eval.jsonl", [{"question": row["instruction"]} for row in rows("first.jsonl")[:4]])
    save("other.jsonl", [{"question": rows("first.jsonl")[9]["instruction"]}])
    assert generate(server, *command, "--against", "eval.jsonl", "other.jsonl", "-o", "out.jsonl") == 0
    assert "rejected: near eval.jsonl 4, near other.jsonl 1" in capsys.readouterr().out
    turned_down = rows("out.rejected.jsonl")
    assert all(row["meta"]["neighbour"]["rouge_l"] == 1.0 for row in turned_down)
    assert [row["id"] for row in rows()[:5]] == [row["id"] for row in rows("first.jsonl")[4:9]]


def test_a_strategy_of_ones_own_brings_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    Path("toned.py").write_text(
        "from data_gen.strategies.self_instruct import SelfInstruct\n"
        "class Mine(SelfInstruct):\n"
        "    def __init__(self, *, tone: str = 'kind', **options):\n"
        "        super().__init__(**options)\n"
        "        self.settings['tone'] = tone\n",
        encoding="utf-8",
    )
    command = ["generate", "--teacher", "scripted", "--rows", "1", "-o", "own.jsonl", "--reparse", "--strategies"]
    assert main([*command, "{own: {strategy: 'toned:Mine', tone: dry, tasks_per_request: 2}}"]) == 2
    assert "holds no answers to read" in capsys.readouterr().err
    assert main([*command, "{own: {strategy: 'toned:Mine', tune: dry}}"]) == 2
    assert "strategy 'own' has no option 'tune' (did you mean 'tone'?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--strategy is needed: one of answer"),
        (["--strategy", "evole"], "did you mean 'evolve'"),
        (["--strategy", "evolve", "--strategies", "{answer: }"], "give --strategy or --strategies, not both"),
        (["--strategies", "{}", "--rows", "3"], "'strategies' names none"),
        (["--strategies", "[evolve]"], "must look like '{self_instruct: {share: 0.7}}'"),
        (["--strategies", "{evolve: {shares: 1}}"], "no option 'shares' (did you mean 'share'?)"),
        (["--strategies", "{evolve: {turns: 2}}"], "strategy 'evolve' has no option 'turns'"),
        (["--strategies", "{evolve: 3}"], "takes options such as"),
        (["--strategies", "{answer: {share: 1}}"], "strategy 'answer' needs --instructions"),
        (["--strategies", "{evolve: {rounds: many}}"], "--rounds must be a whole number from 1 on, not 'many'"),
        (["--strategies", "{evolve: {share: 0}}"], "the share of strategy 'evolve' must be a number above 0"),
        (["--strategies", "{evolve: }", "--turns", "3"], "none of the strategies takes --turns"),
        (["--strategies", "{magpie: }", "--rows", "3"], "needs a local teacher"),
        (["--strategy", "evolve", "--rounds", "0"], "--rounds must be a whole number from 1 on"),
        (["--strategy", "evolve", "--answer-temperature", "3"], "--answer-temperature must lie between 0 and 2"),
        (["--strategy", "evolve", "--turns", "2"], "strategy 'evolve' takes no --turns"),
        (["--strategy", "translate", "--instructions", "zh.jsonl"], "holds nothing that is not in zh already"),
        (["--strategy", "translate", "--instructions", "zh.jsonl", "--to", "eng"], "did you mean 'en'"),
        (["--strategy", "augment", "--instructions", "zh.jsonl"], "line 1: no passage in the row"),
        (["--strategy", "self_instruct", "--seeds", "zh.jsonl"], "needs an instruction and an output"),
        (["--strategy", "lamini_topic", "--topics", "zh.jsonl"], "a topic stands in the field 'topic'"),
        (["--strategy", "evolve", "--against", "none.csv"], "no file none.csv"),
        (["--strategy", "evolve", "--against", "answers.jsonl"], "holds no field that says what is asked"),
        (["--strategy", "evolve", "--filters", "{novelty: {treshold: 1}}"], "did you mean 'threshold'"),
    ],
)
def test_wrong_input_is_a_sentence(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    save("zh.jsonl", [{"instruction": "你好", "output": ""}])
    save("answers.jsonl", [{"answer": "好"}])
    argv = [
        "generate",
        "--teacher",
        "chatgpt",
        "--model",
        "mock",
        "--base-url",
        "http://127.0.0.1:9/v1",
        "-o",
        "out.jsonl",
    ]
    assert main([*argv, *options]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err
    assert err.strip().count("\n") == 0
    assert not Path("out.jsonl.journal").exists()


def test_one_changed_row_among_many_sends_one_request(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [{"instruction": f"请介绍第{n}种茶叶"} for n in range(200)]
    command = ["--strategy", "answer", "--instructions", save("in.jsonl", tasks), "-o", "out.jsonl"]
    assert generate(server, *command) == 0
    first, asked = rows(), server.asked.total()
    save("in.jsonl", [*tasks[:77], {"instruction": "请介绍一种点心"}, *tasks[78:]])
    assert generate(server, *command) == 0, capsys.readouterr().err
    assert server.asked.total() == asked + 1
    now = rows()
    assert [n for n in range(200) if now[n]["id"] != first[n]["id"]] == [77]
