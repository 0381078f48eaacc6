"""`distill demo` as a user runs it, made small: what it leaves, stopped and gone on with, run twice, damaged.

The one demo that nobody stops runs in this process; those that are stopped run as a user's would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from data_gen.records import read_records
from distill.cli import main
from distill.demo import check_folder, forget
from distill.errors import DistillError

SMALL = ["--seeds", "1", "--rows", "24", "--magpie", "4", "--eval-rows", "8", "--epochs", "3"]
MEASURES = ("exact_match", "bits_per_character", "teacher_agreement", "seconds")
ARTEFACTS = (
    "data/train.jsonl", "data/train.manifest.json", "data/heldout.jsonl", "data/magpie.jsonl",
    "tokenizer/tokenizer.json", "sft-0/student/model.safetensors", "kd-0/student/model.safetensors",
    "kd-0/logs/csv/metrics.csv", "scores.json", "samples.json", "export/model.safetensors", "export/README.md",
    "report.html",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that nobody stopped."""
    folder = tmp_path_factory.mktemp("demo") / "whole"
    assert main(["demo", "--folder", str(folder), *SMALL]) == 0
    return folder


def scores(folder: Path) -> dict[str, Any]:
    """Without what a clock says."""
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    for model in found["models"]:
        for part in (model, *model["by_seed"]):
            part.pop("seconds")
    return found


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_what_it_leaves(whole: Path) -> None:
    """Every artefact, and no file half-written."""
    for name in ARTEFACTS:
        assert (whole / name).is_file(), name
    assert not [p for p in whole.rglob("*") if p.suffix in {".part", ".old"}]
    page = (whole / "report.html").read_text(encoding="utf-8")
    for name in ("teacher", "student-sft", "student-kd"):
        assert name in page


def test_scores(whole: Path) -> None:
    """Three models, means over seeds and every seed by itself; one seed has no spread."""
    found = json.loads((whole / "scores.json").read_text(encoding="utf-8"))
    assert found["rows"] == 8
    assert [model["name"] for model in found["models"]] == ["teacher", "student-sft", "student-kd"]
    for model in found["models"]:
        assert isinstance(model["parameters"], int)
        for measure in MEASURES:
            assert isinstance(model[measure], float)
        assert model["spread"] == {}
        assert 0 <= model["exact_match"] <= 1
        assert model["bits_per_character"] > 0
    teacher, sft, kd = found["models"]
    assert teacher["exact_match"] > 0.8
    assert teacher["teacher_agreement"] == 1
    assert sft["parameters"] == kd["parameters"] < teacher["parameters"] / 5
    for student in (sft, kd):
        assert [one["seed"] for one in student["by_seed"]] == [0]
        assert student["seconds"] > 0
        assert student["bits_per_character"] == student["by_seed"][0]["bits_per_character"]


def test_both_students_start_alike(whole: Path) -> None:
    """Recipes differ in losses and teacher alone (and in the folder), so what differs in the table comes from these."""
    import yaml

    sft, kd = (yaml.safe_load((whole / f"{kind}-0" / "recipe.yaml").read_text("utf-8")) for kind in ("sft", "kd"))
    assert sft["data"] == kd["data"]
    differ = {key for key in sft["model"] if sft["model"][key] != kd["model"][key]}
    assert differ <= {"losses", "teacher", "features", "keep_signals"}
    differ = {key for key in sft["trainer"] if sft["trainer"][key] != kd["trainer"][key]}
    assert differ == {"default_root_dir"}


def test_a_second_run_reuses_everything(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And prints the table again; other options in the same folder are refused and change nothing."""
    before = times(whole)
    capsys.readouterr()
    assert main(["demo", "--folder", str(whole), *SMALL]) == 0
    said = capsys.readouterr()
    for name in ("teacher", "student-sft", "student-kd", "exact match", "bits/char"):
        assert name in said.out
    after = times(whole)
    assert after.keys() == before.keys()
    written = {name for name in after if after[name] != before[name]}
    assert all(name in {"report.html", "demo.json"} or name.startswith("data/magpie.") for name in written), written
    assert "data/magpie.jsonl" not in written
    assert main(["demo", "--folder", str(whole), *SMALL, "--epochs", "4"]) == 2
    assert "holds a demo with other options" in capsys.readouterr().err
    assert times(whole) == after


def test_force_takes_the_demos_own_files_and_no_others(tmp_path: Path) -> None:
    own = ["data/train.jsonl", "data/magpie.jsonl.journal", "tokenizer/x", "kd-10/student/x", "scores.json", "export/x"]
    mine = ["data/thesis.txt", "thesis.txt", "kd-mine/x", "exports/x"]
    for name in (*own, *mine, "demo.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"magpie": "1"}')
    elsewhere = tmp_path / "kd-mine"
    (tmp_path / "sft-0").symlink_to(elsewhere)
    check_folder(tmp_path)
    forget(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(mine)
    with pytest.raises(DistillError, match="something else than a demo"):
        check_folder(tmp_path)


STOPS = [
    ("let the teacher write", signal.SIGKILL, 1.0),
    ("make the student's tokenizer", signal.SIGINT, 0.1),
    ("train kd-0", signal.SIGKILL, 0.5),
    ("score", signal.SIGINT, 0.1),
]
"""At the line that names a stage, and so many seconds later"""


def run_and_stop(argv: list[str], stage: str, number: int, wait: float) -> tuple[int, str]:
    """Exit code and what was said."""
    # A shell's background job starts with Ctrl-C ignored, and so would its children.
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("[") and stage in line:
            time.sleep(wait)
            process.send_signal(number)
            break
    lines += process.stderr.readlines()
    return process.wait(timeout=60), "".join(lines)


def test_stopped_at_several_stages_it_ends_all_the_same(whole: Path, tmp_path: Path) -> None:
    """Ctrl-C and kill -9 in turn, then to the end: the scores are those of the run that nobody stopped."""
    folder = tmp_path / "stopped"
    argv = [sys.executable, "-m", "distill", "demo", "--folder", str(folder), *SMALL]
    for stage, number, wait in STOPS:
        code, said = run_and_stop(argv, stage, number, wait)
        assert "Traceback" not in said
        assert not (folder / "report.html").exists(), f"the demo was over before it could be stopped at {stage!r}"
        if number == signal.SIGINT:
            assert code == 130, said
            assert "the same 'distill demo' command" in said
        else:
            assert code == -signal.SIGKILL
    done = subprocess.run(argv, capture_output=True, text=True, encoding="utf-8", env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "student-kd" in done.stdout
    for name in ARTEFACTS:
        assert (folder / name).is_file(), name
    assert scores(folder) == scores(whole)
    ours, theirs = (list(read_records(place / "data/train.jsonl")) for place in (folder, whole))
    assert [record.id for record in ours] == [record.id for record in theirs]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("data/curriculum.jsonl", "curriculum.jsonl"),
        ("data/magpie.jsonl", "magpie.jsonl"),
        ("data/magpie.recipe.json", "magpie.recipe.json"),
        ("data/train.jsonl", "train.jsonl"),
        ("tokenizer/tokenizer.json", "tokenizer"),
        ("tokenizer/tokenizer_config.json", "tokenizer"),
        ("sft-0/recipe.yaml", "sft-0"),
        ("sft-0/checkpoints/last.ckpt", "last.ckpt"),
        ("scores.json", "scores.json"),
    ],
)
def test_a_torn_artefact_is_named_or_made_again(
    name: str, said: str, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a traceback, never taken for whole. (In place: recipes hold the folder's name.)"""
    kept = whole.with_name("kept")
    shutil.copytree(whole, kept)
    try:
        before = (whole / name).read_bytes()
        (whole / name).write_bytes(before[: len(before) // 2])
        capsys.readouterr()
        code = main(["demo", "--folder", str(whole), *SMALL])
        lines = capsys.readouterr().err.strip().splitlines()
        assert code in {0, 2}
        if code == 2:
            assert any(line.startswith("distill: ") and said in line for line in lines), lines
        else:
            assert (whole / name).read_bytes() == before
    finally:
        shutil.rmtree(whole)
        kept.rename(whole)


@pytest.mark.parametrize("name", ["data/train.jsonl", "tokenizer", "scores.json", "export", "sft-0/student"])
def test_a_deleted_artefact_is_made_again(name: str, whole: Path) -> None:
    """The same as it was."""
    before = scores(whole)
    kept = whole.with_name("kept")
    (whole / name).rename(kept)
    try:
        assert main(["demo", "--folder", str(whole), *SMALL]) == 0
        made = whole / name
        files = [made] if made.is_file() else [p for p in made.rglob("*") if p.is_file()]
        assert files
        for file in files:
            if file.suffix in {".jsonl", ".safetensors"} or file.name == "tokenizer.json":
                old = kept if made.is_file() else kept / file.relative_to(made)
                assert file.read_bytes() == old.read_bytes(), file
        assert scores(whole) == before
    finally:
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
