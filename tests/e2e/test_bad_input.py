"""What a user gets wrong: one clear sentence on stderr, exit code 2, no traceback, nothing lost, nothing half-written.

Each case is a command as it is typed, run in-process in a folder that holds good and bad data, models and recipes. What
the sentence must name stands beside it. After each command the folder must be as it was.
"""

from __future__ import annotations

import errno
import json
import shlex
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.records import Record, write_records
from distill.cli import main
from tests import tiny

FIT = "fit --config good.yaml"
ANSWER = "generate --strategy answer --teacher local --model llama --instructions train.jsonl -o new.jsonl"
REMOTE = "generate --strategy answer --teacher chatgpt --model m --instructions train.jsonl -o new.jsonl"


def recipe(edit: Callable[[dict[str, Any]], Any] = lambda values: None) -> str:
    """A recipe of two steps, edited."""
    values: dict[str, Any] = {
        "seed_everything": 0,
        "model": {
            "student": {"preset": "tiny", "n_layer": 1, "n_embd": 32, "n_head": 2},
            "tokenizer": "wordpiece",
            "teacher": {"class_path": "teachers.panda.PandaTeacher", "init_args": {"path": "llama"}},
            "losses": [{"name": "ce", "weight": 0.3}, {"name": "forward_kl", "weight": 0.7}],
        },
        "data": {"train": "train.jsonl", "val": "val.jsonl", "batch_size": 8},
        "trainer": {"default_root_dir": "run", "max_steps": 2},
    }
    edit(values)
    return yaml.safe_dump(values)


def bad_models(folder: Path) -> None:
    """Copies of the teacher, each with one thing broken."""
    for name in ("noweights", "badeos", "torn"):
        shutil.copytree(folder / "llama", folder / name)
    (folder / "noweights" / "model.safetensors").unlink()
    config = json.loads((folder / "badeos" / "config.json").read_text())
    (folder / "badeos" / "config.json").write_text(json.dumps(config | {"eos_token_id": 50256}))
    weights = folder / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def bad_data(folder: Path) -> None:
    """Records that are none."""
    good = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "broken.jsonl").write_text(f"{good[0]}\n{good[1][:20]}\n{good[2]}\n", encoding="utf-8")
    (folder / "empty.jsonl").write_text("")
    (folder / "unknown.jsonl").write_text('{"question": "x", "answer": "y"}\n')
    write_records(folder / "mute.jsonl", [Record("没有回答")] * 3)


def recipes(folder: Path) -> None:
    """Recipes, good and bad."""
    edits: dict[str, Callable[[dict[str, Any]], Any]] = {
        "good": lambda v: None,
        "key": lambda v: v["model"].update(learning_rat=1e-3),
        "section": lambda v: v.update(modle={}),
        "loss": lambda v: v["model"]["losses"][1].update(name="foward_kl"),
        "loss_key": lambda v: v["model"]["losses"][1].update(wieght=1),
        "loss_option": lambda v: v["model"]["losses"][1].update(name="jsd", options={"betta": 0.5}),
        "loss_value": lambda v: v["model"]["losses"][1].update(weight="much"),
        "teacher_key": lambda v: v["model"]["teacher"]["init_args"].update(pth="x"),
        "teacher_class": lambda v: v["model"]["teacher"].update(class_path="teachers.panda.PandaTeache"),
        "student_own": lambda v: v["model"].update(student="badeos", tokenizer="sp", teacher=None, losses=None),
    }
    for name, edit in edits.items():
        (folder / f"{name}.yaml").write_text(recipe(edit))
    (folder / "notyaml.yaml").write_text("model: {student: tiny\ndata: [\n")
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
    (folder / "list.yaml").write_text("- a\n")
    (folder / "generate.yaml").write_text("stratgy: answer\n")
    (folder / "sample.yaml").write_text("rowz: 3\n")
    (folder / "mix.yaml").write_text("name: m\nseed: 1\nsources:\n  curriclum: 3\n")
    (folder / "mixkey.yaml").write_text("name: m\nseed: 1\nrow: 3\nsources:\n  curriculum: 3\n")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that every command runs in."""
    folder = tmp_path_factory.mktemp("bad")
    lines = tiny.sentences()
    write_records(folder / "train.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[:24])))
    write_records(folder / "val.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[24:32])))
    tiny.wordpiece(folder / "wordpiece")
    tiny.tiny_llama(folder / "llama", tiny.sentencepiece_like(folder / "sp"))
    bad_models(folder)
    bad_data(folder)
    recipes(folder)
    return folder


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time; empty folders do not count."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def refused(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of a command that must end with exit code 2."""
    capsys.readouterr()
    try:
        code = main(shlex.split(command))
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 2, said
    assert said
    assert said[-1].startswith("distill"), said
    assert 15 < len(said[-1]) < 500
    assert len(said) == 1 or all(" rows" in line for line in said[:-1]), said  # a progress line may stand before it
    return said[-1]


CASES: list[tuple[str, str]] = [
    # files that are not there
    (f"{FIT} --data.train none.jsonl", "no file none.jsonl"),
    (f"{FIT} --data.val none.jsonl", "no file none.jsonl"),
    ("fit --config none.yaml", "no file none.yaml"),
    ("validate --config good.yaml --ckpt_path none.ckpt", "none.ckpt"),
    ("sample ./none.jsonl -o new.jsonl", "no file none.jsonl"),
    (ANSWER.replace("train", "none"), "no file none.jsonl"),
    ("eval llama --data none.jsonl", "no file none.jsonl"),
    ("datasets stats ./none.jsonl", "no file none.jsonl"),
    ("datasets add ./none.jsonl --id x", "none.jsonl"),
    ("export nowhere -o new", "nowhere"),
    ("report llamma", "did you mean 'llama'"),
    # broken lines: file and line
    (f"{FIT} --data.train broken.jsonl", "broken.jsonl, line 2"),
    (f"{FIT} --data.val broken.jsonl", "broken.jsonl, line 2"),
    ("sample ./broken.jsonl -o new.jsonl", "broken.jsonl, line 2"),
    (ANSWER.replace("train", "broken"), "broken.jsonl, line 2"),
    ("eval llama --data broken.jsonl", "broken.jsonl, line 2"),
    ("datasets stats ./broken.jsonl", "broken.jsonl, line 2"),
    (f"{FIT} --data.train unknown.jsonl", "unknown.jsonl, line 1: field 'instruction' is missing"),
    ("sample ./unknown.jsonl -o new.jsonl", "--columns instruction="),
    # nothing in them
    (f"{FIT} --data.train empty.jsonl", "no row with an answer in empty.jsonl"),
    (f"{FIT} --data.val mute.jsonl", "no row with an answer in mute.jsonl"),
    ("sample ./empty.jsonl -o new.jsonl", "the file is empty"),
    (ANSWER.replace("train", "empty"), "empty.jsonl holds no instructions"),
    ("eval llama --data mute.jsonl", "no record with an answer"),
    ("validate --config good.yaml --data.val null", "data.val"),
    # recipes
    ("fit --config notyaml.yaml", "notyaml.yaml, line"),
    ("fit --config binary.yaml", "binary.yaml is not valid YAML"),
    ("fit --config list.yaml", "list.yaml must hold 'key: value' lines"),
    ("fit --config key.yaml", "did you mean 'model.learning_rate'"),
    ("fit --config section.yaml", "did you mean 'model'"),
    ("fit --config loss_key.yaml", "did you mean 'weight'"),
    ("fit --config loss_value.yaml", "model.losses.weight: expected float, got 'much'"),
    ("fit --config teacher_key.yaml", "did you mean 'path'"),
    ("generate --config notyaml.yaml", "notyaml.yaml, line"),
    ("generate --config generate.yaml", "did you mean 'strategy'"),
    ("sample --config sample.yaml", "did you mean 'rows'"),
    ("sample --mix mixkey.yaml -o new.jsonl", "did you mean 'rows'"),
    # values
    (f"{FIT} --trainer.max_epochs abc", "trainer.max_epochs: expected int, got 'abc'"),
    (f"{FIT} --data.batch_size 0", "data.batch_size"),
    (f"{FIT} --model.learning_rate -1", "model.learning_rate"),
    (f"{FIT} --data.question_share 2", "question_share"),
    (f"{FIT} --model.losses ce", "model.losses: expected list"),
    (f"{ANSWER} --rows 0", "--rows"),
    (f"{ANSWER} --rows many", "--rows"),
    (f"{ANSWER} --temperature 3", "--temperature"),
    ("eval llama --data val.jsonl --rows -3", "--rows"),
    ("eval llama --data val.jsonl --batch-size 0", "--batch-size"),
    ("eval llama --data val.jsonl --names a b", "1 models but 2 names"),
    ("sample ./train.jsonl --rows 99 -o new.jsonl", "24 rows to draw from"),
    ("sample ./train.jsonl --columns x -o new.jsonl", "--columns"),
    ("demo --rows 0", "--rows"),
    # names: the nearest is offered
    ("fti", "did you mean 'fit'"),
    (f"{FIT} --data.train trian.jsonl", "did you mean train.jsonl"),
    ("sample ./train.json --rows 9 -o new.jsonl", "did you mean train.jsonl"),
    (f"{FIT} --model.learning_rat 1", "did you mean 'model.learning_rate'"),
    (f"{ANSWER} --temprature 1", "did you mean '--temperature'"),
    ("fit --config loss.yaml", "did you mean 'forward_kl'"),
    ("fit --config loss_option.yaml", "did you mean 'beta'"),
    ("fit --config teacher_class.yaml", "did you mean 'PandaTeacher'"),
    (f"{FIT} --model.student tinny", "did you mean 'tiny'"),
    (f"{FIT} --model.student.n_layr 2", "did you mean"),
    (f"{FIT} --model.schedule cosin", "did you mean 'cosine'"),
    (f"{FIT} --model.attention eagr", "did you mean 'eager'"),
    (f"{FIT} --data.template alpacca", "did you mean 'alpaca'"),
    (ANSWER.replace("answer", "anwser"), "did you mean 'answer'"),
    (ANSWER.replace("local", "locl"), "did you mean 'local'"),
    (f"{ANSWER} --template alpacca", "did you mean 'alpaca'"),
    (f"{ANSWER} --filters '{{lenght: false}}'", "did you mean 'length'"),
    ("sample alpaca_zh -o new.jsonl", "did you mean 'alpaca-zh'"),
    ("sample --mix dmeo -o new.jsonl", "did you mean 'demo'"),
    ("sample --mix mix.yaml -o new.jsonl", "did you mean 'curriculum'"),
    ("sample ./train.jsonl --where instrction~x -o new.jsonl", "did you mean 'instruction'"),
    ("datasets lss", "did you mean 'ls'"),
    ("datasets show alpaca_zh", "did you mean 'alpaca-zh'"),
    ("recipes cp kd_studnt new.yaml", "did you mean 'kd_student'"),
    ("eval llama --data val.jsonl --template alpacca", "did you mean 'alpaca'"),
    ("chat llama --template alpacca", "did you mean 'alpaca'"),
    # models
    *(
        (command.format(model), names)
        for model, names in (
            ("noweights", "noweights has a config but no weights"),
            ("badeos", "eos_token_id 50256 is outside its vocabulary of 600"),
            ("torn", "cannot load a causal language model from torn"),
            ("./llamma", "did you mean 'llama'"),
        )
        for command in (
            FIT + " --model.teacher.init_args.path {}",
            "eval {} --data val.jsonl",
            "chat {}",
        )
    ),
    ("fit --config student_own.yaml", "put eos_token_id: 2"),
    (ANSWER.replace("llama", "noweights"), "noweights has a config but no weights"),
    ("export badeos -o new", "put eos_token_id: 2"),
    # nobody there
    (REMOTE, "OPENAI_API_KEY"),
    # places that cannot be written
    (f"{FIT} --trainer.default_root_dir train.jsonl", "train.jsonl"),
    ("sample ./train.jsonl -o train.jsonl", "train.jsonl exists already"),
    ("sample ./train.jsonl -o val.jsonl/new.jsonl", "val.jsonl"),
    ("sample ./train.jsonl -o /proc/nowhere/new.jsonl", "/proc/nowhere"),
    (ANSWER.replace("new.jsonl", "val.jsonl"), "val.jsonl exists"),
    (ANSWER.replace("new.jsonl", "llama"), "llama is a folder"),
    (ANSWER.replace("new.jsonl", "val.jsonl/new.jsonl"), "val.jsonl is no folder"),
    ("eval llama --data val.jsonl --json llama", "llama is a folder"),
    ("eval llama --data val.jsonl --json /proc/nowhere/s.json", "/proc/nowhere"),
    ("export llama -o sp", "sp exists"),
    ("export llama -o train.jsonl", "train.jsonl is a file"),
    ("export llama -o /proc/nowhere", "/proc/nowhere"),
    ("recipes cp kd_student val.jsonl/new.yaml", "val.jsonl"),
    ("demo --folder train.jsonl", "train.jsonl"),
]
"""A command, and what its sentence must say"""


@pytest.mark.parametrize(("command", "names"), CASES)
def test_refused_in_a_sentence(
    command: str, names: str, ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ground)
    before = state(ground)
    assert names in refused(command, capsys)
    assert state(ground) == before


def test_an_endpoint_that_refuses(
    ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A closed port: the address is named; another teacher may take the output over, for nothing was answered."""
    shutil.copy(ground / "train.jsonl", tmp_path)
    shutil.copytree(ground / "llama", tmp_path / "llama")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    assert address in refused(f"{REMOTE} --base-url {address}", capsys)
    assert not Path("new.jsonl").exists()
    assert main(shlex.split(f"{ANSWER} --max-tokens 2 --filters '{{chinese_share: false, truncated: false}}'")) == 0
    assert Path("new.jsonl").exists()


@pytest.fixture
def run(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete run in a folder of its own, ready to be damaged."""
    for name in ("train.jsonl", "val.jsonl", "good.yaml"):
        shutil.copy(ground / name, tmp_path)
    for name in ("wordpiece", "llama"):
        shutil.copytree(ground / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(FIT)) == 0
    return tmp_path / "run"


def test_torn_files_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb that meets a torn file names it; a checkpoint's sentence names another one to go on from."""
    last = run / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        last.write_bytes(whole[:size])
        before = state(run)
        for command in (FIT, f"{FIT} --trainer.max_steps 4", f"export {last} -o new",
                        f"validate --config good.yaml --ckpt_path {last}"):  # fmt: skip
            said = refused(command, capsys)
            assert "last.ckpt is damaged or cut off" in said
            assert "best-step=2.ckpt" in said
        assert state(run) == before
    last.write_bytes(whole)
    tokenizer = run / "student" / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes()[:1000])
    for command in ("eval run --data val.jsonl", "export run -o new", "chat run"):
        assert "cannot load a tokenizer from run/student" in refused(command, capsys)
    (run / "recipe.yaml").write_text("model: [")
    assert "recipe.yaml, line 1 is not valid YAML" in refused(FIT, capsys)
    assert not Path("new").exists()


def test_another_recipe_leaves_the_run_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(run)
    assert "model.learning_rate" in refused(f"{FIT} --model.learning_rate 0.1", capsys)
    assert state(run) == before


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the last byte does not fit, the old file stays, and no part of the new one."""
    Path("scores.json").write_text("old")
    before = state(run.parent)
    write = Path.write_bytes

    def full(path: Path, data: Any) -> int:
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        for command, name in (
            ("eval run --data val.jsonl --json scores.json", "scores.json"),
            ("report run", "run/report.html"),
            ("recipes cp kd_student new.yaml", "new.yaml"),
            (f"{FIT} --trainer.default_root_dir new", "new/recipe.yaml"),
        ):
            assert f"no space left on the disk while writing {name}" in refused(command, capsys)
    assert state(run.parent) == before


@pytest.mark.parametrize("error", [FULL, RuntimeError("write failed: No space left on device (os error 28)")])
def test_a_full_disk_while_training(
    error: Exception, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint of before stays whole; with room again the same command goes on."""
    command = f"{FIT} --trainer.max_steps 6"

    def full(checkpoint: Any, file: Any, *args: Any, **more: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("torch.save", full)
        capsys.readouterr()
        assert main(shlex.split(command)) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "no space left on the disk while writing" in said
        assert ".ckpt" in said
    assert not list(run.rglob("*.part"))
    assert main(shlex.split(command)) == 0
    assert json.loads((run / "complete.json").read_text())["max_steps"] == 6


def test_a_full_disk_while_sampling_and_exporting(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the last step fails, nothing takes the file's name and nothing is left over."""
    before = state(run.parent)

    def full(*args: Any) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        for command in ("sample ./train.jsonl -o new.jsonl", "sample --mix demo -o new.jsonl", "export llama -o new"):
            refused(command, capsys)
        assert not Path("new.jsonl").exists()
        assert not list(run.parent.glob("*.part"))
    assert {name: value for name, value in state(run.parent).items() if name in before} == before
