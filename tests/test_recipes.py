"""Every file of data that ships is loaded, and every recipe is run: a new one needs no test of its own.

Recipes of `distill fit` train two steps on tiny data, with dotted overrides for what a user has and a test has not
(data, tokenizer, teacher, a student's folder); everything else stays as it stands in the file. Recipes of `distill
generate` are built by the verb itself, up to the point where the teacher would be asked.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen import mix_recipe, registry
from data_gen.cards import card
from data_gen.filters import Filters
from data_gen.job import run as job_run
from data_gen.records import Record, write_records
from data_gen.source_yaml import load_source
from data_gen.strategies.tasks import SEEDS, read_seeds
from distill.cli import main
from distill.commands.recipes import RECIPES, description
from students.build import PRESETS, load_preset
from tests import tiny

FILES = {path.relative_to(RECIPES).as_posix(): path for path in sorted(RECIPES.rglob("*")) if path.is_file()}
SETTINGS = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
FIT = {name for name, values in SETTINGS.items() if "trainer" in values}
GENERATE = {name for name, values in SETTINGS.items() if values.keys() & {"strategy", "strategies"}}


def shipped(folder: Path, ending: str) -> list[str]:
    """Names of a folder's files; anything of another kind beside them is a mistake."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert all(path.suffix == ending for path in files), files
    return sorted(path.stem for path in files)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny data, a tokenizer of another family than the teacher's, a teacher."""
    folder = tmp_path_factory.mktemp("recipes")
    lines = tiny.sentences()
    write_records(folder / "train.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[:24])))
    write_records(folder / "val.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[24:32])))
    tiny.wordpiece(folder / "tokenizer")
    tiny.tiny_llama(folder / "llama", tiny.sentencepiece_like(folder / "sp"))
    return folder


def test_every_recipe_is_of_a_known_kind() -> None:
    assert set(FILES) == FIT | GENERATE
    assert not FIT & GENERATE
    assert all(name.endswith(".yaml") for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_says_what_it_is_and_how_it_is_run(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(description(FILES[name])) > 30
    header = text[: text.index("\n" + next(line for line in text.splitlines() if not line.startswith("#")))]
    assert name.removesuffix(".yaml") in header or "scripts/" in header, "the header holds no command that runs it"


@pytest.mark.parametrize("name", sorted(FIT))
def test_a_fit_recipe_prints_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key and type is known, and the printed recipe says what the file says."""
    assert main(["fit", "--config", str(FILES[name]), "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    for section in ("model", "data", "trainer"):
        for key, value in SETTINGS[name][section].items():
            assert is_part(value, printed[section][key]), (section, key)


def is_part(said: Any, resolved: Any) -> bool:
    """Whether what a recipe says is found in what it resolves to, where defaults are filled in."""
    if isinstance(said, dict) and isinstance(resolved, dict):
        return all(key in resolved and is_part(value, resolved[key]) for key, value in said.items())
    if isinstance(said, list) and isinstance(resolved, list):
        return len(said) == len(resolved) and all(map(is_part, said, resolved))
    return said == resolved


@pytest.mark.parametrize("name", sorted(FIT))
def test_a_fit_recipe_trains(name: str, ground: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = SETTINGS[name]["model"]
    argv = [
        "fit", "--config", str(FILES[name]), "--data.train", str(ground / "train.jsonl"),
        "--data.val", str(ground / "val.jsonl"), "--data.batch_size", "8", "--trainer.max_steps", "2",
        "--trainer.log_every_n_steps", "1", "--trainer.default_root_dir", str(tmp_path / "run"),
    ]  # fmt: skip
    if isinstance(model["student"], str) and "/" in model["student"]:
        argv += ["--model.student", str(ground / "llama")]
    else:
        argv += ["--model.tokenizer", str(ground / "tokenizer")]
    if model.get("teacher"):
        argv += ["--model.teacher.init_args.path", str(ground / "llama")]
    if model.get("signals"):
        argv += ["--model.signals.path", str(captured(ground, model["tokenizer"]))]
    assert main(argv) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "student" / "model.safetensors").is_file()
    with (tmp_path / "run" / "logs" / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for term in model["losses"]:
        assert any(row[f"loss/{term['name']}"] for row in rows)
    if model.get("features"):
        assert any(row["loss/features"] for row in rows)


def captured(ground: Path, tokenizer: str) -> Path:
    """Signals for the training data and the tokenizer that a recipe names."""
    folder = ground / "signals"
    argv = ["capture", str(ground / "train.jsonl"), "--teacher", str(ground / "llama"), "-o", str(folder)]
    assert main([*argv, "--student", str(ground / tokenizer)]) == 0
    return folder


@pytest.mark.parametrize("name", sorted(GENERATE))
def test_a_generate_recipe_builds(name: str, ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def instead(strategy: Any, teacher: Any, output: str, rows: Any, filters: Any, **more: Any) -> Any:
        asked.update(strategy=strategy, teacher=teacher, rows=rows, filters=filters)
        raise KeyboardInterrupt

    assert callable(job_run)
    monkeypatch.setattr("data_gen.job.run", instead)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    argv = ["generate", "--config", str(FILES[name]), "-o", str(tmp_path / "out.jsonl")]
    if SETTINGS[name].get("strategy") == "translate":
        write_records(ground / "english.jsonl", [Record("Say hello.", output="Hello!")])
        argv += ["--instructions", str(ground / "english.jsonl")]
    elif SETTINGS[name].get("strategy") == "augment":
        write_records(ground / "passages.jsonl", [Record("谁来了？", "小明来了。", "小明")])
        argv += ["--instructions", str(ground / "passages.jsonl")]
    elif SETTINGS[name].get("strategy") == "answer":
        argv += ["--instructions", str(ground / "train.jsonl")]
    if SETTINGS[name]["teacher"] in {"embedded", "local"}:
        argv += ["--teacher", "local", "--model", str(ground / "llama")]
    assert main(argv) == 130
    assert asked["strategy"].name == SETTINGS[name].get("strategy", "mixture")
    assert set(getattr(asked["strategy"], "members", {})) == set(SETTINGS[name].get("strategies", {}))
    assert asked["rows"] == SETTINGS[name].get("rows")
    assert Filters(asked["filters"]).settings == SETTINGS[name].get("filters", {})


@pytest.mark.parametrize("name", shipped(registry.SHIPPED, ".yaml"))
def test_a_source_loads_and_has_a_card(name: str) -> None:
    source = load_source(registry.SHIPPED / f"{name}.yaml")
    assert source.id == name
    assert source.licence.spdx
    assert source.title in card(name)


@pytest.mark.parametrize("name", shipped(mix_recipe.SHIPPED, ".yaml"))
def test_a_mix_loads_and_names_sources_that_ship(name: str) -> None:
    mix = mix_recipe.load_mix(name)
    assert mix.name == name
    assert set(mix.sources) <= set(shipped(registry.SHIPPED, ".yaml"))


@pytest.mark.parametrize("name", shipped(PRESETS, ".json"))
def test_a_preset_loads(name: str) -> None:
    assert load_preset(name)["model_type"]


def test_seed_tasks_load() -> None:
    assert shipped(SEEDS.parent, ".jsonl") == [SEEDS.stem, "topics_zh"]
    assert sum(map(len, read_seeds(SEEDS).values())) >= 60
