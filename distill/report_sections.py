"""The sections of a report, each a function from what was found in the run folder to HTML; empty when there is nothing.

Files of other makers are read with tolerance: a value that is missing, no number or not finite is shown as a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from data_gen.curriculum import is_correct
from distill.charts import COLOURS, Point, Series, finite, line_chart
from distill.metrics import METRICS
from distill.report_page import NOTHING, Word, bar, cell, esc, note, percent, real, section, table

TEACHER = "teacher"


@dataclass
class Run:
    """One training: its curves and its recipe."""

    name: str
    kind: str
    """The name without a seed's number: runs of one kind share a colour"""
    curves: dict[str, list[Point]] = field(default_factory=dict)
    """Column -> (step, value)"""
    recipe: str = ""


def scores(found: dict[str, Any], word: Word) -> str:
    """The table of models, its headline, and the bars by family."""
    models = _dicts(found.get("models"))
    if not models:
        return ""
    columns = [m for m in METRICS if any(real(row.get(m)) is not None for row in models)]
    best = _best(models, columns)
    heads = [(word("model"), False), (word("parameters"), True), *((word(c), True) for c in columns)]
    extra = [c for c in ("seconds", "unknown_characters") if any(real(row.get(c)) for row in models)]
    rows = [
        [
            cell(str(row.get("name", NOTHING)), more=_seeds(row, word)),
            cell(_count(row.get("parameters")), number=True),
            *(_score(row, c, best) for c in columns),
            *(cell(_count(row.get(c)), number=True, more=_spread(row, c)) for c in extra),
        ]
        for row in models
    ]
    notes = [word("best")] * bool(best) + [word("spread")] * any(_dict(row.get("spread")) for row in models)
    notes += [word("unknown_note")] * any(real(row.get("unknown_characters")) for row in models)
    if real(found.get("rows")):
        notes.insert(0, word("rows_scored").format(rows=_count(found["rows"]), data=found.get("data") or NOTHING))
    return section(
        word("scores"),
        _headline(models, word),
        table([*heads, *((word(c), True) for c in extra)], rows),
        note(" ".join(notes)),
        _families(models, word),
    )


def _best(models: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, float]:
    """The best value of each column among the students; none where there is nothing to compare."""
    students = [row for row in models if row.get("name") != TEACHER]
    found = {}
    for column in columns:
        able = [row for row in students if not _too_low(row, column)]
        values = [value for row in able if (value := real(row.get(column))) is not None]
        if len(set(values)) > 1:
            found[column] = min(values) if METRICS[column].falls else max(values)
    return found


def _score(row: dict[str, Any], column: str, best: dict[str, float]) -> str:
    value = real(row.get(column))
    if value is None:
        return cell(NOTHING, number=True)
    text, starred = _said(value, column), _too_low(row, column)
    mark = "best" if row.get("name") != TEACHER and value == best.get(column) and not starred else ""
    return cell(f"{text} *" if starred else text, number=True, mark=mark, more=_spread(row, column))


def _too_low(row: dict[str, Any], column: str) -> bool:
    return METRICS[column].falls and bool(real(row.get("unknown_characters")))


def _said(value: float, column: str) -> str:
    return METRICS[column].say(value).replace("%", " %")


def _spread(row: dict[str, Any], column: str) -> str:
    value = real(_dict(row.get("spread")).get(column))
    if value is None:
        return ""
    if column not in METRICS:
        return f"± {value:.0f}"
    return f"± {_said(value, column).removesuffix(' %')}"


def _seeds(row: dict[str, Any], word: Word) -> str:
    seeds = row.get("seeds")
    return f"{word('seeds')} {', '.join(map(str, seeds))}" if isinstance(seeds, list) and seeds else ""


def _headline(models: Sequence[dict[str, Any]], word: Word) -> str:
    """What came of it, in one or two sentences, when the folder tells."""
    by_name = {row.get("name"): row for row in models}
    teacher, kd, sft = (by_name.get(name, {}) for name in (TEACHER, "student-kd", "student-sft"))
    said = []
    right, sizes = real(kd.get("exact_match")), (real(kd.get("parameters")), real(teacher.get("parameters")))
    if right is not None and sizes[0] and sizes[1] and real(teacher.get("exact_match")) is not None:
        said.append(
            word("headline").format(
                student="student-kd", size=percent(sizes[0] / sizes[1]), right=percent(right),
                teacher=percent(real(teacher.get("exact_match"))),
            )
        )  # fmt: skip
    without = real(sft.get("exact_match"))
    if right is not None and without is not None:
        said.append(word("gain").format(gain=f"{100 * (right - without):+.1f}"))
        spread = max(real(_dict(row.get("spread")).get("exact_match")) or 0.0 for row in (kd, sft))
        said += [word("within")] * (0 < abs(right - without) <= spread)
    return f'<p class="lead">{esc(" ".join(said))}</p>' if said else ""


def _families(models: Sequence[dict[str, Any]], word: Word) -> str:
    shares = {str(row.get("name", NOTHING)): _dict(row.get("by_family")) for row in models}
    shares = {name: by for name, by in shares.items() if by}
    families = sorted({family for by in shares.values() for family in by})
    if not families:
        return ""
    rows = [[cell(family), *(bar(real(by.get(family))) for by in shares.values())] for family in families]
    heads = [(word("family"), False), *((name, True) for name in shares)]
    return f"<h3>{esc(word('families'))}</h3>{table(heads, rows)}"


def samples(found: Any, word: Word) -> str:
    """Questions, the expected answer, and every model's."""
    cards = []
    for row in _dicts(found):
        asked = "\n".join(str(row[k]) for k in ("instruction", "input") if row.get(k))
        output = str(row.get("output") or "")
        answers = []
        for name, text in _dict(row.get("answers")).items():
            right = is_correct(output, str(text))
            mark = f'<b title="{esc(word("right" if right else "wrong"))}">{"✓" if right else "✗"}</b>'
            answers.append(
                f'<div class="{"right" if right else "wrong"}"><div class="who">{mark} {esc(name)}</div>'
                f'<div class="said">{esc(text)}</div></div>'
            )
        cards.append(
            f'<article class="sample"><div class="said question">{esc(asked)}</div>'
            f'<div class="answers"><div><div class="who">{esc(word("expected"))}</div>'
            f'<div class="said">{esc(output)}</div></div>{"".join(answers)}</div></article>'
        )
    return section(word("samples"), *cards) if cards else ""


def training(runs: Sequence[Run], word: Word) -> str:
    """Curves of the losses and of validation, and the same in numbers."""
    runs = [run for run in runs if any(finite(points) for points in run.curves.values())]
    if not runs:
        return ""
    kinds = list(dict.fromkeys(run.kind for run in runs))
    titles = {"loss": word("loss")}
    if any(sum(c.startswith("loss/") for c in run.curves) > 1 for run in runs):
        parts = sorted({c for run in runs for c in run.curves if c.startswith("loss/")})
        titles |= {c: word("part").format(name=c.removeprefix("loss/")) for c in parts}
    titles["val_bpc"] = word("val_bpc")
    charts = []
    for column, title in titles.items():
        series = [Series(r.name, kinds.index(r.kind), r.curves[column]) for r in runs if column in r.curves]
        if svg := line_chart(series, title, word("step")):
            charts.append(f"<figure><figcaption>{esc(title)}</figcaption>{svg}</figure>")
    legend = "".join(
        f'<li class="k{n % COLOURS}"><i></i><span>{esc(kind)} × {sum(r.kind == kind for r in runs)}</span></li>'
        for n, kind in enumerate(kinds)
    )
    return section(
        word("training"),
        f'<ul class="legend">{legend}</ul><div class="charts">{"".join(charts)}</div>',
        note(word("loss_note")) if len(kinds) > 1 else "",
        _run_table(runs, word),
    )


def _run_table(runs: Sequence[Run], word: Word) -> str:
    rows = []
    for run in runs:
        every = [step for points in run.curves.values() for step, _ in points]
        loss, bpc = finite(run.curves.get("loss", [])), finite(run.curves.get("val_bpc", []))
        rows.append(
            [
                cell(run.name),
                cell(f"{max(every) + 1:,.0f}", number=True),  # steps count from 0
                cell(f"{loss[-1][1]:.3f}" if loss else NOTHING, number=True),
                cell(f"{min(y for _, y in bpc):.3f}" if bpc else NOTHING, number=True),
            ]
        )
    heads = [(word("run"), False), (word("steps"), True), (word("last_loss"), True), (word("best_bpc"), True)]
    return table(heads, rows)


def data(manifests: Sequence[tuple[str, dict[str, Any]]], word: Word) -> str:
    """What each training file was mixed from, with licences and shares."""
    parts = []
    for name, manifest in manifests:
        sources = _dicts(manifest.get("sources"))
        total = sum(real(s.get("taken")) or 0 for s in sources)
        rows = [
            [
                cell(str(s.get("id", NOTHING)), more=str(s.get("title") or "")),
                cell(_count(s.get("rows_in")), number=True),
                cell(_count(s.get("taken")), number=True),
                bar((real(s.get("taken")) or 0) / total if total else None),
                cell(", ".join(f"{why} {_count(n)}" for why, n in _dict(s.get("dropped")).items()) or NOTHING),
                _licence(s.get("licence"), word),
            ]
            for s in sources
        ]
        heads = [("source", False), ("rows_in", True), ("taken", True), ("share", True)]
        heads += [("dropped", False), ("licence", False)]
        parts.append(f"<h3>{esc(name)}</h3>" + note(_about(manifest, word)))
        parts.append(table([(word(key), number) for key, number in heads], rows) if rows else "")
    return section(word("data"), *parts) if parts else ""


def _licence(licence: Any, word: Word) -> str:
    if not isinstance(licence, dict):
        return cell(str(licence or NOTHING))
    said = [str(licence.get("note") or "")]
    if licence.get("noncommercial"):
        said.insert(0, word("noncommercial"))
    return cell(str(licence.get("spdx") or NOTHING), more=" · ".join(s for s in said if s))


def _about(manifest: dict[str, Any], word: Word) -> str:
    licence, output = manifest.get("licence"), _dict(manifest.get("output"))
    digest = manifest.get("sha256") or output.get("sha256")
    said = [
        f"{_count(manifest['rows'])} {word('rows')}" if real(manifest.get("rows")) is not None else "",
        f"{word('seed')} {manifest['seed']}" if manifest.get("seed") is not None else "",
        f"sha256 {str(digest)[:12]}…" if digest else "",
        str((licence.get("summary") if isinstance(licence, dict) else licence) or ""),
    ]
    return " · ".join(s for s in said if s)


def recipes(runs: Sequence[Run], word: Word) -> str:
    """One run's recipe a kind, folded."""
    first: dict[str, Run] = {}
    for run in runs:
        if run.recipe:
            first.setdefault(run.kind, run)
    folded = [
        f"<details><summary>{esc(word('recipe_of').format(kind=kind, run=run.name))}</summary>"
        f"<pre>{esc(run.recipe)}</pre></details>"
        for kind, run in first.items()
    ]
    return section(word("recipes"), *folded) if folded else ""


def _count(value: Any) -> str:
    found = real(value)
    if found is None:
        return NOTHING
    return f"{found:,.0f}" if float(found).is_integer() or found >= 100 else f"{found:,.1f}"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
