"""`distill export`, `distill chat` and `distill recipes` as a user runs them, on a run folder made by hand."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_gen.records import Record
from data_gen.templates import get_template
from distill.chat import Chat, Stream, talk, template_of
from distill.cli import main
from distill.commands.recipes import RECIPES, find_recipes
from distill.encoding import encode_side
from distill.errors import DistillError
from students.tokenizers import ByteView
from teachers.panda import PandaTeacher
from teachers.text import TokenText
from tests import tiny

QUESTIONS = ["小猫在哪里？", "你好", "计算：1+1="]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as `distill fit` leaves it, with a checkpoint that also holds a projector and a teacher."""
    root = tmp_path_factory.mktemp("run")
    tokenizer = tiny.byte_level_bpe(root / "tokenizer")
    student = tiny.tiny_gpt2(root / "run" / "student", tokenizer)
    folder = student.parent
    spec = {"preset": "tiny", "n_embd": 32, "n_layer": 2, "n_head": 4}
    recipe = {"model": {"student": spec, "tokenizer": str(tokenizer), "learning_rate": 0.123}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "template.txt").write_text("qa\n")
    manifest = {"sources": [{"id": "luotuo", "rows": 7, "licence": "CC-BY-NC-4.0"}]}
    (folder / "data_manifest.json").write_text(json.dumps(manifest))
    model = AutoModelForCausalLM.from_pretrained(student)
    state = {f"student.{key}": value for key, value in model.state_dict().items()}
    state |= {"features.projectors.0.weight": torch.ones(3, 3), "teacher.model.weight": torch.ones(2)}
    (folder / "checkpoints").mkdir()
    torch.save({"state_dict": state}, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.mark.parametrize("source", ["", "student", "checkpoints/last.ckpt"])
def test_a_run_is_exported_without_projector_and_teacher(
    run: Path, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(run / source), "-o", str(out)]) == 0
    assert "million weights" in capsys.readouterr().out
    with (
        safe_open(out / "model.safetensors", "pt") as stored,
        safe_open(run / "student" / "model.safetensors", "pt") as trained,
    ):
        assert set(stored.keys()) == set(trained.keys())
        assert all(torch.equal(stored.get_tensor(k), trained.get_tensor(k)) for k in trained.keys())  # noqa: SIM118
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "learning_rate: 0.123" in card
    assert "luotuo" in card
    assert "Not for commercial use" in card
    assert json.loads((out / "minituo.json").read_text()) == {"template": "qa", "stop": ["\n问："]}
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": "你好"}], add_generation_prompt=True, return_dict=False
    )
    assert tokenizer.decode(ids) == "问：你好\n答："


def test_options_of_export(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, manifest = tmp_path / "s.json", tmp_path / "m.json"
    scores.write_text('{"bpc": 4.5}')
    manifest.write_text('{"sources": {"mine": 3}}')
    out = tmp_path / "out"
    command = ["export", str(run / "student"), "-o", str(out), "--scores", str(scores), "--manifest", str(manifest)]
    assert main([*command, "--dtype", "fp16", "--template", "alpaca"]) == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| bpc | 4.5 |" in card
    assert "| mine | 3 |" in card
    assert "### Instruction:" in card
    assert AutoModelForCausalLM.from_pretrained(out, dtype="auto").dtype == torch.float16
    assert main(command) == 2
    assert main([*command, "--force"]) == 0
    assert main(["export", str(out), "-o", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "minituo.json").read_bytes() == (out / "minituo.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "-o", "x"], "no run, checkpoint or folder nowhere"),
        (["{run}/recipe.yaml", "-o", "x"], "is no checkpoint"),
        (["{run}/student", "-o", "{run}"], "--force"),
        (["{run}/student", "-o", "x", "--template", "alpacca"], "did you mean 'alpaca'"),
        (["{run}/student", "-o", "x", "--scores", "none.json"], "no file none.json"),
        (["{run}/student", "-o", "x", "--scores", "{run}/template.txt"], "not valid JSON"),
        (["{run}/checkpoints", "-o", "x"], "no config.json|holds no tokenizer"),
    ],
)
def test_export_says_what_is_wrong(
    run: Path, arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *(a.format(run=run) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in sentence.split("|")), error
    assert not (tmp_path / "x").exists()


def test_a_run_that_is_not_done_says_what_to_do(run: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "recipe.yaml").write_text("model: {}\n")
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "x")]) == 2
    assert "has no student/ yet" in capsys.readouterr().err


def expected_answers(folder: Path, questions: list[str]) -> list[str]:
    """What the conversation must be, turn by turn, encoded by the very code of training."""
    teacher = PandaTeacher(str(folder))
    view, template, eos = ByteView(teacher.tokenizer), get_template("qa"), teacher.tokenizer.eos_token_id
    history: list[list[str]] = []
    for question in questions:
        side = encode_side(view, template, [Record(question, output="", history=history)], 10_000)
        ids = torch.tensor([side.ids[:-1].tolist()])  # without the EOS of the empty answer
        out = teacher.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)
        answer = [i for i in out[0, ids.shape[1] :].tolist() if i != eos]
        history.append([question, teacher.text.decode(answer, after=ids[0].tolist()).split("\n问：")[0]])
    return [answer for _, answer in history]


def test_piped_questions_are_answered_on_stdout(run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distill", "chat", str(run), "--max-tokens", "10"],
        input="\n".join(QUESTIONS) + "\n", capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(answer + "\n" for answer in expected_answers(run / "student", QUESTIONS))


def chat_with(run: Path, text: str, **options: Any) -> tuple[str, Chat]:
    chat = Chat(PandaTeacher(str(run / "student")), "qa", max_tokens=10, **options)
    out = io.StringIO()
    assert talk(chat, io.StringIO(text), out) == 0
    return out.getvalue(), chat


def test_reset_and_exit_and_no_history(run: Path) -> None:
    once, chat = chat_with(run, "你好\n")
    assert len(chat.history) == 1
    twice, _ = chat_with(run, "你好\n/reset\n你好\n/exit\n你好\n")
    assert twice == once + once
    alone, chat = chat_with(run, "小猫在哪里？\n你好\n", remember=False)
    assert alone.endswith(once)
    assert chat.history == []
    remembered, _ = chat_with(run, "小猫在哪里？\n你好\n")
    assert remembered != alone


def test_ctrl_c_at_the_prompt_ends_and_in_an_answer_breaks_it_off(run: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
            line = super().readline()
            if line == "^C\n":
                raise KeyboardInterrupt
            return line

    chat = Chat(PandaTeacher(str(run / "student")), "qa", max_tokens=10)
    out = io.StringIO()
    assert talk(chat, Terminal("你好\n^C\nnever asked\n"), out) == 0
    assert out.getvalue().startswith("> ")
    assert len(chat.history) == 1

    calls = 0

    class Breaking(io.StringIO):
        def write(self, text: str) -> int:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KeyboardInterrupt
            return super().write(text)

    chat.history.clear()
    assert talk(chat, Terminal("你好\n/exit\n"), Breaking()) == 0
    assert len(chat.history) == 1


def test_sampling_has_a_seed(run: Path) -> None:
    one, same, other = (chat_with(run, "你好\n", temperature=1.0, seed=s)[0] for s in (1, 1, 2))
    assert one == same != other


def test_a_long_conversation_forgets_its_oldest_turns(run: Path) -> None:
    speaker = PandaTeacher(str(run / "student"))
    chat = Chat(speaker, "qa", max_tokens=10)
    chat.history = [["龘" * 100, "好"], ["你好", "好"]]
    chat.answer("龘" * 80, lambda piece: None)
    assert chat.history[0][0] == "你好"
    with pytest.raises(DistillError, match="more than fit into a context of 512"):
        chat.answer("龘" * 600, lambda piece: None)


def test_streaming_shows_whole_characters_and_no_stop(run: Path) -> None:
    text = TokenText(AutoTokenizer.from_pretrained(run / "student"))
    answer = "好的😀，龘龘。\n问：再见"
    ids = text.tokenizer(answer, add_special_tokens=False)["input_ids"]
    pieces: list[str] = []
    stream = Stream(text, text.encode("问：你好\n答："), text.stops(["\n问："]), ("\n问：",), pieces.append)
    for n in range(1, len(ids) + 1):
        stream.hear(ids[:n])
        assert "\ufffd" not in "".join(pieces)
        assert "好的😀，龘龘。".startswith("".join(pieces))
    assert stream.finish(ids) == "".join(pieces) == "好的😀，龘龘。"
    assert len(pieces) > 3


def test_the_template_is_the_one_of_training(run: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(run / "student")
    assert template_of(str(run / "student"), tokenizer) == "qa"
    assert template_of(str(tmp_path), tokenizer) == "qa"
    (tmp_path / "minituo.json").write_text('{"template": "alpaca"}')
    assert template_of(str(tmp_path), tokenizer) == "alpaca"
    tokenizer.chat_template = "x"
    (tmp_path / "minituo.json").write_text("{}")
    assert template_of(str(tmp_path), tokenizer) == "tokenizer"


def test_the_exported_chat_template_talks_like_the_template(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "-o", str(tmp_path / "out")]) == 0
    chats = [Chat(PandaTeacher(str(tmp_path / "out")), name, max_tokens=10) for name in ("qa", "tokenizer")]
    with_template, with_tokenizer = ([c._encode("你好"), c.answer("你好", lambda piece: None)] for c in chats)
    assert with_template == with_tokenizer


def test_chat_says_what_is_wrong(run: Path, capsys: Any) -> None:
    assert main(["chat", str(run), "--template", "qq"]) == 2
    assert "did you mean 'qa'" in capsys.readouterr().err
    assert main(["chat", str(run), "--template", "tokenizer"]) == 2
    assert "no chat template of its own" in capsys.readouterr().err
    assert main(["chat", "./nowhere"]) == 2
    assert main(["chat", str(run), "--max-tokens", "0"]) == 2


def test_recipes_are_listed_shown_and_copied(tmp_path: Path, capsys: Any) -> None:
    assert main(["recipes", "ls"]) == 0
    listed = capsys.readouterr().out
    for name, path in find_recipes().items():
        line = next(line for line in listed.splitlines() if line.split()[0] == name)
        assert path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") in line
        assert len(line.split()) > 2, f"{name} has no description"
    name, path = next(iter(find_recipes().items()))
    assert path.is_relative_to(RECIPES)
    assert main(["recipes", "show", name]) == 0
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")
    assert main(["recipes", "cp", name, str(tmp_path / "new" / "my.yaml")]) == 0
    assert main(["recipes", "cp", name, str(tmp_path)]) == 0
    assert (tmp_path / "new" / "my.yaml").read_bytes() == (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert main(["recipes", "cp", name, str(tmp_path)]) == 2
    assert main(["recipes", "cp", name, str(tmp_path), "--force"]) == 0
    capsys.readouterr()
    assert main(["recipes", "show", name + "x"]) == 2
    assert f"did you mean {name!r}" in capsys.readouterr().err
    assert main(["recipes", "show"]) == 2
    assert main(["recipes", "cp", name]) == 2
