"""A folder of good and bad data, models and recipes; commands that run in it, and what a refused one says."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
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


def bad_checkpoints(folder: Path) -> None:
    """One of anything else, one that names a class of ours, one that is cut off."""
    torch.save({"weights": torch.zeros(3)}, folder / "plain.ckpt")
    torch.save({"state_dict": {}, "record": Record("x", output="y")}, folder / "code.ckpt")
    (folder / "cut.ckpt").write_bytes((folder / "plain.ckpt").read_bytes()[:-99])


def recipes(folder: Path) -> None:
    """Recipes, good and bad."""
    edits: dict[str, Callable[[dict[str, Any]], Any]] = {
        "good": lambda v: None,
        "ckpt": lambda v: v.update(ckpt_path="plain.ckpt"),
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
    shutil.copytree(folder / "llama", folder / "based" / "student")
    bad_data(folder)
    bad_checkpoints(folder)
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
