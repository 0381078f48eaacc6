"""`distill report`: one self-contained HTML page of a demo folder or of a single run of `distill fit`.

    distill report runs/demo                     # writes runs/demo/report.html
    distill report runs/kd -o kd.html --language en

What the folder holds decides what the page shows; each of these may be missing:

- `scores.json` (of `distill demo`, or of `distill eval --json`): the table of models;
- `samples.json`: questions with every model's answer;
- `logs/csv/metrics.csv`, here or one folder down: curves of losses and of validation;
- `data/*.manifest.json` or `data_manifest.json`: what the training data was mixed from;
- `recipe.yaml`, here or one folder down: how a run was trained.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from data_gen.records import DataError
from distill.files import check_own, write_whole
from distill.report_page import page, words
from distill.report_sections import Run, data, recipes, samples, scores, training
from teachers.base import nearest

EXPECTED = "scores.json, samples.json, logs/csv/metrics.csv, recipe.yaml or a data manifest"


def build_page(folder: Path, language: str = "zh") -> str:
    """The page of a run folder; DataError when there is nothing in it to report, or a file in it is broken."""
    folder = Path(folder)
    if not folder.is_dir():
        names = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        raise DataError(f"no run folder {folder}{nearest(folder.name, names)}")
    word = words(language)
    runs = find_runs(folder)
    scored = _read_json(folder / "scores.json")
    sections = [
        scores(scored if isinstance(scored, dict) else {"models": scored}, word),
        samples(_read_json(folder / "samples.json"), word),
        training(runs, word),
        data(find_manifests(folder), word),
        recipes(runs, word),
    ]
    if not any(sections):
        raise DataError(
            f"nothing to report in {folder}: expected {EXPECTED}; name the folder of a 'distill demo' or a "
            "'distill fit' run"
        )
    return page(language, word("title"), folder.resolve().name, [s for s in sections if s])


def find_runs(folder: Path) -> list[Run]:
    """The run that the folder is and the runs one folder down, in the order of their names (seed 2 before 10)."""
    places = [folder, *sorted((p for p in folder.iterdir() if p.is_dir()), key=_natural)]
    runs = []
    for place in places:
        metrics, recipe = place / "logs" / "csv" / "metrics.csv", place / "recipe.yaml"
        if metrics.is_file() or recipe.is_file():
            name = place.resolve().name
            kind = re.sub(r"-\d+$", "", name) or name
            text = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else ""
            runs.append(Run(name, kind, read_curves(metrics), text))
    return runs


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Column -> (step, value) of Lightning's sparse CSV; a torn line or a cell that is no number is passed over."""
    curves: dict[str, list[tuple[float, float]]] = {}
    if not path.is_file():
        return curves
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(line.replace("\0", "") for line in file):
            step = _number(row.get("step"))
            if step is None:
                continue
            for column, text in row.items():
                value = _number(text)
                if column not in (None, "step", "epoch") and value is not None:
                    curves.setdefault(column, []).append((step, value))
    return curves


def find_manifests(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """(name, manifest) of every mix; the copies in the run folders only when there is no other."""
    files = [*sorted(folder.glob("data/*.manifest.json")), folder / "data_manifest.json"]
    files = [f for f in files if f.is_file()] or sorted(folder.glob("*/data_manifest.json"))
    found: list[tuple[str, dict[str, Any]]] = []
    for file in files:
        manifest = _read_json(file)
        if isinstance(manifest, dict) and all(manifest != other for _, other in found):
            found.append((str(manifest.get("name") or file.name.removesuffix(".manifest.json")), manifest))
    return found


def _read_json(path: Path) -> Any:
    """What a JSON file holds, NaN allowed; None when there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}); write it again or delete it") from None


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _natural(path: Path) -> list[Any]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def main(argv: list[str]) -> int:
    """The verb."""
    from distill.commands.arguments import Arguments

    parser = Arguments("report", "One self-contained HTML page of a run, to look at or to pass on.")
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="a demo's folder or a run's")
    parser.add_argument("-o", "--output", type=Path, metavar="HTML", help="default: report.html in the run folder")
    parser.add_argument("--language", default="zh", metavar="zh|en", help="of the page's own words (default zh)")
    options = parser.parse(argv)
    output = options.output or options.folder / "report.html"
    if output.is_dir():
        raise DataError(f"{output} is a folder; give the page a name: -o {output / 'report.html'}")
    check_own(output, b"<!doctype html>")
    write_whole(output, build_page(options.folder, options.language))
    print(output)
    return 0
