"""`distill sample` and `distill datasets` as a user types them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_gen.provenance import licence_notice
from data_gen.records import Record
from distill.cli import main
from distill.commands.sample import TokenCount
from students.load_tokenizers import load_tokenizer
from tests.raw_files import write_raw
from tests.tiny import byte_level_bpe, sentencepiece_like, wordpiece


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"instruction": f"第{i}问", "input": "", "output": f"答{i}", "star": i % 5} for i in range(100)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "my.csv").write_text("题目,材料,答案\n问,物,答\n再问,,又答\n", encoding="utf-8")
    (tmp_path / "nan.jsonl").write_text('{"instruction": "问", "output": "答"}\n{"instruction": NaN, "output": ""}\n')
    (tmp_path / "null.jsonl").write_text(
        '{"instruction": "问", "output": null}\n{"instruction": "问", "output": "答"}\n'
    )
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    return tmp_path


def run(folder: Path, *argv: str, code: int = 0, env: dict[str, str] | None = None) -> str:
    """Standard output of a command that ends with `code`; of a failing one, its sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "distill", *argv],
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        (sentence,) = done.stderr.strip().splitlines()[-1:]
        assert sentence.startswith("distill")
        return sentence
    return done.stdout


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_sample_split_and_filter(folder: Path) -> None:
    said = run(folder, "sample", "./in.jsonl", "--rows", "20", "--seed", "42", "-o", "out.jsonl")
    assert "out.jsonl: 20 rows, copied as they are" in said
    assert set((folder / "out.jsonl").read_text().splitlines()) <= set((folder / "in.jsonl").read_text().splitlines())
    run(folder, "sample", "./in.jsonl", "--where", "star>=3", "--convert", "-o", "star.jsonl")
    assert len(lines(folder / "star.jsonl")) == 40
    said = run(folder, "sample", "in.jsonl", "--heldout", "0.1", "--heldout-out", "valid.jsonl", "-o", "train.jsonl")
    sides = len(lines(folder / "train.jsonl")), len(lines(folder / "valid.jsonl"))
    assert sum(sides) == 100
    assert 3 <= sides[1] <= 20
    assert f"train.jsonl: {sides[0]} rows" in said
    assert f"valid.jsonl: {sides[1]} rows held out" in said
    argv = ("sample", "./in.jsonl", "./star.jsonl", "--weights", "0.7", "0.3", "--rows", "30", "-o", "both.jsonl")
    assert "21 of 100 rows" in run(folder, *argv)
    run(folder, "sample", "./my.csv", "--columns", "instruction=题目,input=材料,output=答案", "-o", "mine.jsonl")
    assert [(row["instruction"], row["input"], row["output"]) for row in lines(folder / "mine.jsonl")] == [
        ("问", "物", "答"),
        ("再问", "", "又答"),
    ]


def test_strata_budgets_folders_and_parts(folder: Path) -> None:
    run(folder, "sample", "./in.jsonl", "--by", "star", "--shares", "even", "--rows", "10", "-o", "by.jsonl")
    assert sorted(row["star"] for row in lines(folder / "by.jsonl")) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    run(folder, "sample", "./in.jsonl", "--characters", "70", "-o", "few.jsonl")
    rows = lines(folder / "few.jsonl")
    assert 62 <= sum(len(row["instruction"] + row["output"]) for row in rows) <= 70
    (folder / "corpus").mkdir()
    (folder / "in.jsonl").rename(folder / "corpus" / "in.jsonl")
    assert "corpus: 5 of 100 rows" in run(folder, "sample", "./corpus/", "--rows", "5", "-o", "five.jsonl")
    recipe = "name: mine\nsources:\n  ./corpus/in.jsonl: {rows: 3, file: three.json}\n"
    (folder / "mine.yaml").write_text(recipe)
    run(folder, "sample", "--mix", "./mine.yaml", "-o", "mix.jsonl", "--parts", "parts")
    assert len(json.loads((folder / "parts" / "three.json").read_text(encoding="utf-8"))) == 3


@pytest.mark.parametrize("family", [wordpiece, byte_level_bpe, sentencepiece_like])
def test_a_budget_of_tokens(
    folder: Path, family: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many rows as fit, by the tokenizer's own count; a smaller budget gives a part of a larger one's rows."""
    monkeypatch.chdir(folder)
    tokenizer = load_tokenizer(family("tok"))
    wanted = ["sample", "./in.jsonl", "--tokenizer", "tok", "--seed", "3", "--force", "-o", "out.jsonl", "--tokens"]
    found = []
    for budget in (200, 400):
        assert main([*wanted, str(budget)]) == 0
        rows = lines(Path("out.jsonl"))
        counts = [len(tokenizer.tokenize(row["instruction"]) + tokenizer.tokenize(row["output"])) for row in rows]
        assert budget - 20 < sum(counts) <= budget
        found.append({row["instruction"] for row in rows})
    assert found[0] < found[1]
    capsys.readouterr()
    for few, sentence in (("3", "first row drawn from in.jsonl exceeds 3 tokens"), ("9999", "tokens to draw from")):
        assert main([*wanted, few]) == 2
        assert sentence in capsys.readouterr().err
    assert main([*wanted, "9999", "--allow-fewer"]) == 0
    assert len(lines(Path("out.jsonl"))) == 100
    there = pickle.dumps(TokenCount("tok"))
    monkeypatch.chdir("/")  # as a worker of a cluster, which has a folder of its own
    assert pickle.loads(there)(Record(rows[0]["instruction"], output=rows[0]["output"])) == counts[0]
    assert main([*wanted[:3], "none", *wanted[4:], "5"]) == 2
    assert "no tokenizer folder none" in capsys.readouterr().err


def test_a_sample_may_have_a_manifest(folder: Path) -> None:
    """It says what a mix's says, so cards, and the notice before training, are made of it."""
    write_raw(folder / "data", "alpaca-zh", rows=30)
    (folder / "b").mkdir()
    shutil.copy(folder / "in.jsonl", folder / "b")
    argv = ("alpaca-zh", "./in.jsonl", "./b/in.jsonl", "--rows", "30", "--seed", "7", "--manifest")
    said = run(folder, "sample", *argv, "--heldout", "0.2", "--heldout-out", "held.jsonl", "-o", "out.jsonl")
    assert "licence: non-commercial use only, because of alpaca-zh; rights unclear for in.jsonl, b/in.jsonl (" in said
    assert "manifest: out.manifest.json" in said
    manifest = json.loads((folder / "out.manifest.json").read_text())
    sides = [len(lines(folder / name)) for name in ("out.jsonl", "held.jsonl")]
    assert sum(sides) == 30
    assert [manifest["rows"], manifest["heldout"]["rows"]] == sides
    assert manifest["seed"] == 7
    assert [(part["id"], part["taken"]) for part in manifest["sources"]] == [
        ("alpaca-zh", 10),
        ("in.jsonl", 10),
        ("b/in.jsonl", 10),
    ]
    for name in ("out.jsonl", "in.jsonl"):
        files = [manifest["output"], *(file for part in manifest["sources"] for file in part["files"])]
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert {file["sha256"] for file in files if file["file"] == name} == {digest}
    assert manifest["licence"]["noncommercial"] == ["alpaca-zh"]
    assert licence_notice(folder / "out.jsonl").startswith("out.jsonl: non-commercial use only")
    page = run(folder, "datasets", "card", "out.manifest.json")
    assert "| alpaca-zh | Alpaca in Chinese, answered by GPT-4 | 10 | CC-BY-NC-4.0" in page
    again = run(folder, "sample", "./in.jsonl", "--rows", "3", "--manifest", "-o", "out.jsonl", code=2)
    assert "out.manifest.json exists already" in again
    run(folder, "sample", "./in.jsonl", "--rows", "3", "--manifest", "--force", "-o", "out.jsonl")
    assert json.loads((folder / "out.manifest.json").read_text())["rows"] == 3
    run(folder, "sample", "./in.jsonl", "--rows", "101", "--manifest", "-o", "more.jsonl", code=2)
    assert not list(folder.glob("more*"))


def test_a_plain_call_is_a_plain_call_however_it_is_written(folder: Path) -> None:
    forms = (
        ("--rows", "9", "--seed", "4", "-o"),
        ("--rows=9", "--seed=4", "-o"),
        ("--seed", "4", "--force", "--rows", "9", "--out"),
    )
    found = set()
    for form in forms:
        assert run(folder, "sample", "./in.jsonl", *form, "out.jsonl").startswith("out.jsonl: 9 rows, copied")
        found.add((folder / "out.jsonl").read_bytes())
        (folder / "out.jsonl").unlink()
    assert len(found) == 1
    for argv in (("--rows", "9"), ("--rows", "-o", "x.jsonl"), ("--rows", "9", "-o"), ("--rows", "9", "-o", "--force")):
        run(folder, "sample", "./in.jsonl", *argv, code=2)


def test_options_from_a_file(folder: Path) -> None:
    (folder / "sample.yaml").write_text("inputs: [./in.jsonl]\nrows: 7\nwhere: star>=3\nout: out.jsonl\n")
    run(folder, "sample", "--config", "sample.yaml", "--rows", "5")
    assert len(lines(folder / "out.jsonl")) == 5


def test_the_console_script(folder: Path) -> None:
    script = Path(sys.executable).with_name("sample-dataset")
    if not script.exists():
        pytest.skip("not installed as a distribution")
    argv = [str(script), "./in.jsonl", "--rows", "3", "-o", "out.jsonl"]
    assert subprocess.run(argv, cwd=folder, capture_output=True, check=True).stdout.startswith(b"out.jsonl: 3 rows")


def test_mix_twice_then_card(folder: Path) -> None:
    assert "demo.jsonl: 5,000 rows" in run(folder, "sample", "--mix", "demo", "-o", "demo.jsonl")
    assert "up to date" in run(folder, "sample", "--mix", "demo", "-o", "demo.jsonl")
    assert "# demo" in run(folder, "datasets", "card", "demo.manifest.json")
    assert "wrote card.md" in run(folder, "datasets", "card", "mini_luotuo", "-o", "card.md")


@pytest.mark.parametrize("packed", [(), ("--zip",)])
def test_the_benchmark_of_the_largest_mix_in_small(packed: tuple[str, ...]) -> None:
    """Files of the raw forms of mini_luotuo's five sources; every build has the rows it should have."""
    script = Path(__file__).parents[2] / "benchmarks/bench_mix.py"
    argv = [sys.executable, str(script), "--rows-share", "0.001", *packed]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    assert [line[:16].strip() for line in said[1:]] == ["from nothing", "nothing changed", "webtext changed"]
    assert all(line.endswith(" 691 rows") for line in said[1:])


def test_a_folder_of_data_from_the_environment(folder: Path) -> None:
    write_raw(folder / "elsewhere", "webtext", rows=5)
    env = {"MINITUO_DATA": str(folder / "elsewhere")}
    run(folder, "sample", "webtext", "--where", "star>=3", "--convert", "-o", "web.jsonl", env=env)
    assert [row["meta"]["star"] for row in lines(folder / "web.jsonl")] == [3, 4] * 3


def test_registry_ls_show_check_stats(folder: Path) -> None:
    listed = run(folder, "datasets", "ls")
    for name in ("luotuo", "alpaca-zh", "coig", "coig-dialogs", "baike", "webtext", "curriculum", "168,886"):
        assert name in listed
    here = {row["id"]: row["here"] for row in json.loads(run(folder, "datasets", "ls", "--json"))}
    assert here["curriculum"] == "made"
    assert here["coig"] == "no"
    assert "data/coig/" in run(folder, "datasets", "show", "coig")
    write_raw(folder / "data", "baike", rows=4)
    said = run_check(folder, "baike")
    assert said.count("wrong ") == 2
    assert "4 rows, expected about 1,425,000: more than a tenth fewer" in said
    write_raw(folder / "data", "coig", rows=4, broken=7)
    said = run_check(folder, "coig")
    assert "4 rows, expected 63,532" in said
    assert "7 unreadable rows, 6 are known" in said
    stats = json.loads(run(folder, "datasets", "stats", "./in.jsonl", "--json"))
    assert (stats["rows"], stats["duplicates"]) == (100, 0)
    assert "█" in run(folder, "datasets", "stats", "./in.jsonl", "--svg", "in.svg")
    assert (folder / "in.svg").read_text(encoding="utf-8").startswith("<svg ")
    skipped = json.loads(run(folder, "datasets", "stats", "./null.jsonl", "--on-error", "skip", "--json"))
    assert (skipped["rows"], skipped["unreadable"]) == (1, 1)


def test_check_tells_of_every_file(folder: Path) -> None:
    write_raw(folder / "data", "coig", rows=2)
    (folder / "data/coig/exam_instructions.jsonl").unlink()
    (folder / "data/coig/leetcode_instructions.jsonl").write_bytes(b"[" * 9)
    write_raw(folder / "data", "luotuo")
    said = run_check(folder, "coig")
    assert "missing; to get it: download https://huggingface.co/datasets/BAAI/COIG/resolve/9f25758" in said
    assert "leetcode_instructions.jsonl: 0 rows" in said
    assert "2 rows, expected 67,798" in said
    said = run_check(folder, "luotuo")
    assert re.search(r"is not the file it should be: its git blob is [0-9a-f]{40}, expected 4616e8d6", said)
    write_raw(folder / "data", "moss")
    said = run_check(folder, "moss")
    assert "moss-003-sft-no-tools.jsonl.zip, member moss-003-sft-no-tools.jsonl: 2 rows" in said
    write_raw(folder / "data", "pclue")
    said = run_check(folder, "pclue")
    assert re.search(r"pCLUE_train_9.json is not the file it should be: its git blob is .*, expected 77c23d6", said)
    assert "keep it out of training or decontaminate" in said
    (folder / "sources").mkdir()
    files = "files: [{name: a.jsonl, path: a.jsonl}, {name: b.jsonl, path: b.jsonl}]"
    (folder / "sources/two.yaml").write_text(f"id: two\ntitle: two\ntotal_rows: 5\n{files}\nlicence: {{spdx: MIT}}\n")
    for name in "ab":
        (folder / f"{name}.jsonl").write_text('{"instruction": "q", "output": "a"}\n' * 2)
    assert "4 rows in all files, expected 5" in run_check(folder, "two")


def run_check(folder: Path, name: str) -> str:
    argv = [sys.executable, "-m", "distill", "datasets", "check", name]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 1
    return done.stdout


def test_add_a_file_then_use_it_by_name(folder: Path) -> None:
    columns = "instruction=题目,input=材料,output=答案"
    assert "wrote sources/mine.yaml" in run(folder, "datasets", "add", "my.csv", "--id", "mine", "--columns", columns)
    assert "mine" in run(folder, "datasets", "ls")
    assert "good" in run(folder, "datasets", "check", "mine")
    run(folder, "sample", "mine", "-o", "out.jsonl")
    assert [row["source"] for row in lines(folder / "out.jsonl")] == ["mine", "mine"]
    run(folder, "datasets", "add", "in.jsonl", "--id", "in")
    assert json.loads(run(folder, "datasets", "show", "in", "--json"))["converter"] == "alpaca"
    story = {"source": "race", "story": "故事。", "questions": ["谁？"], "answers": ["他"]}
    (folder / "coqa.json").write_text(json.dumps({"version": "1.0", "data": [story]}))
    said = run(folder, "datasets", "add", "coqa.json", "--id", "stories", "--at", "data", "--licence", "CC0-1.0")
    assert "coqa.json (coqa) begins '谁？' -> '他'" in said
    assert "1 rows" in run(folder, "datasets", "check", "stories")
    run(folder, "datasets", "add", "in.jsonl", "my.csv", "--id", "wrong", "--converter", "alpaca", code=2)
    again = run(folder, "datasets", "add", "my.csv", "--id", "mine", "--columns", columns, code=2)
    assert "sources/mine.yaml exists already" in again


def test_help_is_quick_and_names_the_examples(folder: Path) -> None:
    assert "distill sample webtext" in run(folder, "sample", "--help")
    for action in ("ls", "show", "fetch", "check", "add", "stats", "card"):
        assert "usage: distill datasets " + action in run(folder, "datasets", action, "--help")
    code = "import sys, distill.commands.sample, distill.commands.datasets; print([m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("'torch'", "'pandas'", "'pyarrow'", "'datasets'", "'rich'") if name in loaded]
