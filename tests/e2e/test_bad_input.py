"""What a user gets wrong: one clear sentence on stderr, exit code 2, no traceback, nothing lost, nothing half-written.

Each case is a command as it is typed, run in-process in a folder that holds good and bad data, models and recipes. What
the sentence must name stands beside it. After each command the folder must be as it was.
"""

from __future__ import annotations

import shlex
import shutil
import socket
from pathlib import Path

import pytest

from distill.cli import main
from tests import bad_ground
from tests.bad_ground import ANSWER, FIT, REMOTE, refused, state

ground = bad_ground.ground

CASES: list[tuple[str, str]] = [
    # files that are not there
    (f"{FIT} --data.train none.jsonl", "no file none.jsonl"),
    (f"{FIT} --data.val none.jsonl", "no file none.jsonl"),
    ("fit --config none.yaml", "no file none.yaml"),
    (
        f"{FIT} --model.teacher.class_path mine:Own",
        "model.teacher: in a recipe a class is named with dots alone, mine.O",
    ),
    (
        "fit --model.student tiny",
        "data.train; they are of a recipe, --config my.yaml, that 'distill recipes cp sft_student",
    ),
    (
        f"{FIT} --data.train coig",
        "no file coig; of the source of that name: distill sample coig --convert -o coig.jsonl",
    ),
    ("recipes cp kd_studnt", "did you mean 'kd_student'"),
    ("fit good.yaml", "a recipe is named as --config good.yaml"),
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
    ("sample ./unknown.jsonl --convert -o new.jsonl", "--columns instruction="),
    # nothing in them
    (f"{FIT} --data.train empty.jsonl", "no row with an answer in empty.jsonl"),
    (f"{FIT} --data.val mute.jsonl", "no row with an answer in mute.jsonl"),
    ("sample ./empty.jsonl -o new.jsonl", "the file is empty"),
    (ANSWER.replace("train", "empty"), "empty.jsonl holds no instructions"),
    ("eval llama --data mute.jsonl", "no record with an answer"),
    ("validate --config good.yaml --data.val null", "data.val"),
    # recipes
    ("fit --config notyaml.yaml", "notyaml.yaml is not valid YAML, line"),
    ("fit --config binary.yaml", "binary.yaml is not valid YAML"),
    ("fit --config list.yaml", "list.yaml must hold 'key: value' lines"),
    ("fit --config key.yaml", "did you mean 'model.learning_rate'"),
    ("fit --config section.yaml", "did you mean 'model'"),
    ("fit --config loss_key.yaml", "did you mean 'weight'"),
    ("fit --config loss_value.yaml", "model.losses.weight: expected float, got 'much'"),
    ("fit --config teacher_key.yaml", "did you mean 'path'"),
    ("generate --config notyaml.yaml", "notyaml.yaml is not valid YAML, line"),
    ("generate --config generate.yaml", "did you mean 'strategy'"),
    ("sample --config sample.yaml", "did you mean 'rows'"),
    ("sample --mix mixkey.yaml -o new.jsonl", "did you mean 'rows'"),
    # values
    (f"{FIT} --trainer.max_epochs abc", "trainer.max_epochs: expected int, got 'abc'"),
    (f"{FIT} --data.batch_size 0", "data.batch_size"),
    (f"{FIT} --model.learning_rate -1", "model.learning_rate"),
    (f"{FIT} --data.question_share 2", "question_share"),
    (f"{FIT} --model.learning_rate .nan", "model.learning_rate is above 0, got nan"),
    (f"{FIT} --model.betas [2,0.9]", "model.betas is two numbers from 0 to below 1"),
    (f"{FIT} --model.final_factor -3", "model.final_factor is a share between 0 and 1, got -3"),
    (f"{FIT} --data.seed -1", "data.seed is 0 at least, got -1"),
    (f"{FIT} --data.val_batch_size -3", "data.val_batch_size is 1 at least, got -3"),
    (f"{FIT} --data.limit -3", "data.limit is 1 at least, got -3"),
    (f"{FIT} --trainer.gradient_clip_val -1", "trainer.gradient_clip_val is 0 at least, got -1"),
    (f"{FIT} --trainer.precision 64-true", "take bf16-mixed or 32-true"),
    (f"{FIT} --seed_everything -1", "seed_everything lies between 0 and 4294967295, got -1"),
    # checkpoints
    ("validate --config good.yaml --ckpt_path=none.ckpt", "no checkpoint none.ckpt"),
    ("validate --config good.yaml --ckpt_path=cut.ckpt", "cut.ckpt is damaged or cut off"),
    (f"{FIT} --ckpt_path cut.ckpt", "cut.ckpt is damaged or cut off"),
    ("validate --config good.yaml --ckpt_path code.ckpt", "code.ckpt holds more than plain data"),
    ("predict --config ckpt.yaml", "plain.ckpt is no checkpoint of 'distill fit'"),
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
    (f"{ANSWER} --device cudda", "unknown device 'cudda' (did you mean 'cuda'?)"),
    (f"{ANSWER} --device cuda:99", "there is no device 'cuda:99' on this machine"),
    (f"{ANSWER} --device mps", "Apple's GPUs do not compute in float64"),
    ("capture train.jsonl --teacher llama --device cudda -o new", "unknown device 'cudda'"),
    ("capture train.jsonl --teacher llama --device cuda:99 -o new", "there is no device 'cuda:99' on this machine"),
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
    ("demo --folder llama", "llama holds something else than a demo"),
    ("demo --folder llama --force", "llama holds something else than a demo"),
    ("demo --folder . --force", "holds something else than a demo"),
    (f"{FIT} --trainer.default_root_dir based", "based/student exists and is of no run of 'distill fit'"),
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
