"""What an exported folder holds, and that plain transformers does with it what the student did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_gen.records import Record
from data_gen.templates import TEMPLATES
from distill.commands.export import jinja
from students.card import model_card, sources_of
from students.errors import StudentError
from students.export import export_student
from students.folders import beside, whole_folder
from tests import tiny

MANIFEST = {
    "name": "mix", "seed": 42, "rows": 30,
    "sources": [
        {"id": "curriculum", "rows": 20, "licence": "Apache-2.0"},
        {"id": "luotuo", "rows": 10, "licence": {"spdx": "CC-BY-NC-4.0", "note": "badge", "noncommercial": True}},
        {"id": "baike", "taken": 5, "licence": {"spdx": "MIT", "note": "rights of the texts unclear"}},
    ],
}  # fmt: skip
RECIPE = "model:\n  student: tiny\n  learning_rate: 0.001\n"

PLAIN = """
import importlib.abc, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"distill", "students", "teachers", "data_gen", "tests"}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

def look(folder):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    messages = [{"role": "user", "content": "小猫在哪里？"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=8)
    text = tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
    piped = pipeline("text-generation", model=folder, device="cpu")(text, max_new_tokens=2)
    return {
        "prompt": text, "ids": inputs["input_ids"][0].tolist(), "answer": answer[0].tolist(),
        "logits": model(**inputs).logits[0, -1, :5].tolist(), "pipeline": piped[0]["generated_text"][:len(text)],
        "decoded": tokenizer.decode(tokenizer("小猫在家里看书。hello world 你好", add_special_tokens=False).input_ids),
    }

found = [look(folder) for folder in sys.argv[1:]]
ours = sorted(m for m in sys.modules if m.split(".")[0] in {"distill", "students", "teachers", "data_gen"})
print(json.dumps([found, ours]))
"""


def make(family: str, root: Path) -> tuple[Any, Any]:
    tokenizer = tiny.FAMILIES[family](root / "tokenizer")
    folder = tiny.tiny_gpt2(root / "model", tokenizer)
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(params=list(tiny.FAMILIES))
def student(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    return make(request.param, tmp_path)


def test_plain_transformers_loads_it_without_our_packages(tmp_path: Path) -> None:
    students = {family: make(family, tmp_path / family) for family in tiny.FAMILIES}
    for family, (model, tokenizer) in students.items():
        card = {"template": "qa", "stop": ["\n问："], "chat_template": jinja(TEMPLATES["qa"], tokenizer)}
        export_student(model, tokenizer, tmp_path / "out" / family, card)
    script = tmp_path / "plain.py"
    script.write_text(PLAIN, encoding="utf-8")
    folders = [str(tmp_path / "out" / family) for family in students]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-I", str(script), *folders], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    results, ours = json.loads(done.stdout.strip().splitlines()[-1])
    assert ours == []
    for found, (model, _) in zip(results, students.values(), strict=True):
        inputs = torch.tensor([found["ids"]])
        assert torch.allclose(torch.tensor(found["logits"]), model(inputs).logits[0, -1, :5], atol=1e-5)
        expected = model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=8, do_sample=False)
        assert found["answer"] == expected[0].tolist()
        assert found["decoded"].startswith("小猫在家里看书。hello world")
        assert found["decoded"].endswith("你好")
        assert found["pipeline"] == found["prompt"]


def test_it_holds_the_student_and_nothing_else(student: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = student
    model.config.use_cache = False
    folder = export_student(model, tokenizer, tmp_path / "out", {"recipe": RECIPE, "manifest": MANIFEST})
    tied = {"lm_head.weight"}
    with safe_open(folder / "model.safetensors", "pt") as stored:
        assert set(stored.keys()) == set(model.state_dict()) - tied
        assert all(torch.equal(stored.get_tensor(key), model.state_dict()[key]) for key in stored.keys())  # noqa: SIM118
    assert len({p.stat().st_mode for p in folder.iterdir()}) == 1
    config = json.loads((folder / "config.json").read_text())
    assert config["use_cache"] is True
    assert model.config.use_cache is False
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.eos_token_id
    assert generation["pad_token_id"] == tokenizer.pad_token_id
    assert {p.name for p in folder.iterdir()} == {
        "README.md", "config.json", "data_manifest.json", "generation_config.json", "minituo.json",
        "model.safetensors", "recipe.yaml", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert list(tmp_path.glob("out.*")) == []


def test_export_of_an_export_is_the_same(student: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = student
    first = export_student(model, tokenizer, tmp_path / "a" / "x", {})
    again = AutoModelForCausalLM.from_pretrained(first), AutoTokenizer.from_pretrained(first)
    second = export_student(*again, tmp_path / "b" / "x", {})
    for file in first.iterdir():
        assert (second / file.name).read_bytes().strip() == file.read_bytes().strip(), file.name


def test_half_precision_stays_half(student: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = student
    folder = export_student(model.half(), tokenizer, tmp_path / "out", {})
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    with safe_open(folder / "model.safetensors", "pt") as stored:
        assert stored.get_tensor("transformer.wte.weight").dtype == torch.float16


def test_existing_folders_are_kept(student: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = student
    folder = tmp_path / "out"
    folder.mkdir()
    export_student(model, tokenizer, folder, {})  # empty is fine
    (folder / "mine.txt").write_text("x")
    with pytest.raises(StudentError, match="--force to replace"):
        export_student(model, tokenizer, folder, {})
    assert (folder / "mine.txt").exists()
    export_student(model, tokenizer, folder, {}, force=True)
    assert not (folder / "mine.txt").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(StudentError, match="something else than a model"):
        export_student(model, tokenizer, other, {}, force=True)
    with pytest.raises(StudentError, match="is a file"):
        export_student(model, tokenizer, other / "thesis.tex", {}, force=True)
    with pytest.raises(StudentError, match="no transformers model"):
        export_student(torch.nn.Linear(1, 1), tokenizer, tmp_path / "n", {})


def test_a_failure_leaves_the_old_export(student: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = student
    folder = export_student(model, tokenizer, tmp_path / "out", {})
    before = (folder / "model.safetensors").read_bytes()
    tokenizer.eos_token = None
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    with pytest.raises(StudentError, match="no answer would end"):
        export_student(model, tokenizer, folder, {}, force=True)
    assert (folder / "model.safetensors").read_bytes() == before
    assert list(tmp_path.glob("out.*")) == []


@pytest.mark.parametrize("force", [False, True])
def test_what_a_user_has_beside_it_stays(force: bool, tmp_path: Path) -> None:
    model, tokenizer = make("byte", tmp_path)
    folder = export_student(model, tokenizer, tmp_path / "out", {}) if force else tmp_path / "out"
    for name in ("out.old", "out.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("x")
    export_student(model, tokenizer, folder, {}, force=force)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "out", "out.old", "out.part", "tokenizer"]
    assert all((tmp_path / name / "thesis.tex").read_text() == "x" for name in ("out.old", "out.part"))


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What killed writers have left goes; where the last step fails, the old folder is there again."""
    folder = tmp_path / "out"
    for left in beside(folder):
        left.mkdir()
        (left / "torn").touch()
    with whole_folder(folder) as part:
        (part / "first").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(KeyboardInterrupt), whole_folder(folder) as part:
        raise KeyboardInterrupt
    with whole_folder(folder) as part:
        (part / "first").touch()
        with pytest.raises(StudentError, match="out is being written by another run"), whole_folder(folder):
            pytest.fail("two in one folder")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["out", "out/first"]
    real = os.replace

    def full(source: Path, target: Path) -> None:
        if source == part:
            raise OSError("full")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="full"), whole_folder(folder) as part:
        (part / "second").touch()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["out", "out/first"]


def conversation(record: Record) -> list[dict[str, str]]:
    said = [{"role": "system", "content": record.system}] if record.system else []
    for question, answer in record.history:
        said += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*said, {"role": "user", "content": record.instruction}]


@pytest.mark.parametrize("name", list(TEMPLATES))
@pytest.mark.parametrize(
    "record",
    [
        Record("小猫在哪里？", output="在家里。"),
        Record(' 多行\n"引号" {{ x }} {% y %} ', output="好", system="你是助手。"),
        Record("三", output="四", history=[["一", "二"], ["甲\n", "乙"]], system="\\n 系统"),
    ],
)
def test_the_chat_template_says_what_training_saw(student: tuple[Any, Any], name: str, record: Record) -> None:
    _, tokenizer = student
    template = TEMPLATES[name]
    eos, bos = tokenizer.eos_token, tokenizer.bos_token if tokenizer.bos_token == "<s>" else ""
    expected = bos + "".join(text + (eos if said else "") for text, said in template.render(record)[:-1])
    tokenizer.chat_template = jinja(template, tokenizer)
    messages = conversation(record)
    found = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert found == expected
    answered = [*messages, {"role": "assistant", "content": record.output}]
    assert tokenizer.apply_chat_template(answered, tokenize=False) == expected + record.output + eos


def test_the_card_says_how_it_was_made_and_what_is_forbidden(student: tuple[Any, Any]) -> None:
    card = {
        "name": "my-student", "recipe": RECIPE, "manifest": MANIFEST, "template": "qa", "prompt": "问：…",
        "scores": {"student": {"bpc": 3.25, "rouge_l": 0.5}, "teacher": {"bpc": 2.0}},
    }  # fmt: skip
    text = model_card(card, student[0], chat=True)
    assert text.startswith("---\nlanguage: zh\n")
    assert "license: cc-by-nc-4.0" in text
    assert f"```yaml\n{RECIPE}```" in text
    assert "| luotuo | 10 | CC-BY-NC-4.0 | badge |" in text
    assert "**Not for commercial use**: luotuo" in text
    assert "| baike | 5 | MIT | rights of the texts unclear |" in text
    assert "rights of baike are unclear" in text
    assert "| model | bpc | rouge_l |" in text
    assert "| teacher | 2 |  |" in text
    assert "seed 42" in text
    free = model_card({"manifest": {"sources": [{"id": "a", "rows": 1, "licence": "MIT"}]}}, student[0], chat=False)
    assert "license: mit" in free
    assert "commercial" not in free
    assert "add_special_tokens=False" in free
    scored = {"data": "curriculum", "rows": 500, "models": [{"name": "kd", "exact_match": 0.25, "by_family": {}}]}
    assert "| kd | 0.25 |\n\nOn 500 rows of curriculum." in model_card({"scores": scored}, student[0], chat=False)
    bare = model_card({"scores": {"bpc": 1.5}}, student[0], chat=False)
    assert "license: other" in bare
    assert "No manifest" in bare
    assert "| bpc | 1.5 |" in bare


def test_manifests_of_several_shapes_are_read() -> None:
    assert sources_of(None) == sources_of({}) == sources_of({"sources": 3}) == []
    (row,) = sources_of({"sources": {"coig": 165531}})
    assert (row["id"], row["rows"], row["licence"]) == ("coig", 165531, "")
    (row,) = sources_of({"sources": {"luotuo": {"rows": 3, "license": "cc-by-nc-4.0"}}})
    assert row["noncommercial"]
    assert sources_of({"sources": ["a"]})[0]["id"] == "a"
