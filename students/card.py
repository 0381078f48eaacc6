"""The README of an exported student: what it is, how to run it, how it was made, under which licences.

`model_card` reads a plain dict; every key may be missing:

    name       title
    template   the prompt template, `template_name` its name if that is another, `prompt` an example of it
    scores     {metric: value}, {model: {metric: value}}, or what `distill eval --json` writes
    recipe     the exact YAML it was trained with
    manifest   what it was trained on: {"sources": [{"id", "rows", "licence"}]} or {"sources": {id: ...}}
"""

from __future__ import annotations

import json
import re
from typing import Any

NONCOMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])|non[ _-]?commercial|research", re.IGNORECASE)
"""Names of licences that forbid commercial use, where a manifest does not say so itself: CC-BY-NC-4.0, cc by nc, .."""

USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
{ask}
answer = model.generate(**inputs)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```
"""
ASK_CHAT = """\
messages = [{"role": "user", "content": "请用一句话介绍长城。"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")"""
ASK_TEXT = 'inputs = tokenizer("请用一句话介绍长城。", add_special_tokens=False, return_tensors="pt")'


def model_card(card: dict[str, Any], model: Any, chat: bool) -> str:
    """README.md with its front matter; `chat` tells whether the tokenizer has a chat template."""
    name = str(card.get("name") or "student")
    sources = sources_of(card.get("manifest"))
    parts = [
        _front_matter(sources),
        f"# {name}\n\n{_what(model)}",
        "## Use\n\n" + USE.format(name=name, ask=ASK_CHAT if chat else ASK_TEXT),
        _prompt(card),
        _scores(card.get("scores")),
        _data(sources, card.get("manifest")),
        _licence(sources),
    ]
    if card.get("recipe"):
        fence = "````" if "```" in card["recipe"] else "```"
        parts.append(
            f"## Recipe\n\nThe exact settings of the training:\n\n{fence}yaml\n{card['recipe'].strip()}\n{fence}"
        )
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def sources_of(manifest: Any) -> list[dict[str, Any]]:
    """Rows of the data table: `id`, `rows`, `licence` (an SPDX name or ""), `noncommercial`, `note`."""
    found = manifest.get("sources") if isinstance(manifest, dict) else None
    if isinstance(found, dict):
        found = [{"id": key, **(value if isinstance(value, dict) else {"rows": value})} for key, value in found.items()]
    rows = []
    for entry in found if isinstance(found, list) else []:
        entry = entry if isinstance(entry, dict) else {"id": str(entry)}
        licence = entry.get("licence") or entry.get("license") or ""
        detail = licence if isinstance(licence, dict) else {"spdx": str(licence)}
        spdx = str(detail.get("spdx") or "")
        rows.append(
            {
                "id": str(entry.get("id") or entry.get("name") or "?"),
                "rows": entry.get("rows", entry.get("taken")),
                "licence": spdx,
                "note": str(detail.get("note") or ""),
                "noncommercial": bool(detail.get("noncommercial") or entry.get("noncommercial"))
                or bool(NONCOMMERCIAL.search(spdx)),
            }
        )
    return rows


def _front_matter(sources: list[dict[str, Any]]) -> str:
    names = {source["licence"] for source in sources}
    only = names.pop().lower() if len(names) == 1 else "other"
    licence = "cc-by-nc-4.0" if any(s["noncommercial"] for s in sources) else only or "other"
    if licence.startswith("licenseref") or " " in licence:  # the hub's tags are single licences
        licence = "other"
    lines = ["language: zh", "library_name: transformers", "pipeline_tag: text-generation", f"license: {licence}"]
    return "\n".join(["---", *lines, "tags:", "- distillation", "- chinese", "---"])


def _what(model: Any) -> str:
    config = model.config
    weights = sum(p.numel() for p in model.parameters()) / 1e6
    layers, width = getattr(config, "num_hidden_layers", "?"), getattr(config, "hidden_size", "?")
    context = getattr(config, "max_position_embeddings", "?")
    return (
        f"A {config.model_type} of {weights:.1f} million weights ({layers} layers, width {width}, vocabulary "
        f"{config.vocab_size}, context {context}), distilled with minituo."
    )


def _prompt(card: dict[str, Any]) -> str:
    if not card.get("prompt"):
        return ""
    called = card.get("template_name") or card.get("template")
    named = f"It was trained with the template `{called}`. " if called else ""
    return f"## Prompt\n\n{named}A question reads:\n\n```text\n{card['prompt']}\n```"


def _scores(scores: Any) -> str:
    if not isinstance(scores, dict) or not scores:
        return ""
    if isinstance(scores.get("models"), list):
        models = {
            str(model.get("name", "?")): {k: v for k, v in model.items() if isinstance(v, int | float)}
            for model in scores["models"]
        }
        on = f"\n\nOn {scores.get('rows', '?')} rows of {scores.get('data', '?')}."
        return _scores(models) + on if models else ""
    if not all(isinstance(value, dict) for value in scores.values()):
        rows = [[str(key), _number(value)] for key, value in scores.items()]
        return "## Scores\n\n" + _table(["metric", "value"], rows)
    metrics = list(dict.fromkeys(metric for values in scores.values() for metric in values))
    rows = [[str(name), *(_number(values.get(m, "")) for m in metrics)] for name, values in scores.items()]
    return "## Scores\n\n" + _table(["model", *metrics], rows)


def _data(sources: list[dict[str, Any]], manifest: Any) -> str:
    if not sources:
        return "## Data\n\nNo manifest of the training data came with this model."
    rows = [
        [s["id"], f"{s['rows']:,}" if isinstance(s["rows"], int) else "", s["licence"] or "not stated", s["note"]]
        for s in sources
    ]
    kept = {k: manifest[k] for k in ("name", "seed", "rows") if isinstance(manifest.get(k), str | int)}
    about = f"\n\n{', '.join(f'{key} {value}' for key, value in kept.items())}." if kept else ""
    return "## Data\n\n" + _table(["source", "rows", "licence", "note"], rows) + about


def _licence(sources: list[dict[str, Any]]) -> str:
    closed = [s["id"] for s in sources if s["noncommercial"]]
    unclear = [s["id"] for s in sources if not s["licence"] or "unclear" in (s["licence"] + s["note"]).lower()]
    text = "## Licence\n\nThe weights come of the sources above and of the teacher's answers; their terms apply."
    if closed:
        text += f"\n\n**Not for commercial use**: {', '.join(closed)} forbid{'s' * (len(closed) == 1)} it."
    if unclear:
        text += (
            f"\n\nThe rights of {', '.join(unclear)} are unclear: ask before you publish what you make of this model."
        )
    return text


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([c.replace("|", "\\|").replace("\n", " ") for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
