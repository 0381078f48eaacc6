"""Dataset cards: a Markdown page with the front matter of the hub, of a source, a recipe or a mix that was built."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import orjson

from data_gen.errors import no_file
from data_gen.licences import terms_of
from data_gen.mix_recipe import Mix, load_mix, mix_names, sources_of
from data_gen.provenance import effective_licence, overlap_lines, overlaps
from data_gen.records import DataError
from data_gen.registry import inside, load_registry, no_source
from data_gen.source_yaml import Source

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(name: str) -> str:
    """The card of a source's id, a mix's name, a recipe's YAML or a manifest. DataError with the nearest name."""
    if name.endswith(".json"):
        return manifest_card(_manifest(Path(name)))
    if name.endswith((".yaml", ".yml")) or name in mix_names():
        return mix_card(load_mix(name))
    known = load_registry()
    beside = Path(name).with_suffix(".manifest.json")
    if name not in known and beside.is_file():
        raise DataError(f"the card of {name} is made of its manifest: distill datasets card {shlex.quote(str(beside))}")
    if name not in known:
        raise DataError(no_source(name, [*known, *mix_names()]).replace("no source", "no source and no mix", 1))
    return source_card(known[name], list(known))


def source_card(source: Source, known: list[str]) -> str:
    """What the registry, which has the `known` sources, says of one of them."""
    files = [
        f"| {file.name} | {_count(file.rows, file.rows_about)} | {source.address(file) or '-'} |"
        for file in source.files
    ]
    table = "\n".join(["| file | rows | address |", "|---|---|---|", *files]) if files else "Made on the spot."
    licence = source.licence
    lines = [
        _front_matter(source.title, source.rows, _tag(effective_licence({source.id: source})), [source.language]),
        f"# {source.title}\n",
        source.about,
        f"\n## Licence\n\n{licence.spdx}{f': {licence.note}' if licence.note else ''}."
        + "".join(f" **{said.capitalize()}.**" for said in licence.limits),
        _contains(*inside(source, known)),
        f"\n## Files\n\n{table}",
        f"\nFields: {', '.join(f'`{name}`' for name in source.fields) or '-'}. Converter: `{source.converter}`.",
        f"\nThe facts above were {'' if source.verified else '**not** '}checked against the source's own pages"
        + (f"; not checked: {source.unverified}." if source.unverified else "."),
        f"\n## Citation\n\n{source.citation}" if source.citation else "",
    ]
    return "\n".join(line for line in lines if line).rstrip() + "\n"


def _contains(sources: list[str], tests: list[str]) -> str:
    lines = [
        f"Other sources of the registry are inside of it: {', '.join(sources)}." if sources else "",
        f"**It holds what models are scored on: {', '.join(tests)}.** Keep it out of training, or decontaminate."
        if tests
        else "",
    ]
    return "\n## Contains\n\n" + "\n".join(filter(None, lines)) if any(lines) else ""


def mix_card(mix: Mix) -> str:
    """The card of a recipe that was not built yet: what it asks for."""
    sources = sources_of(mix)
    wanted = mix.wanted()
    rows = [
        f"| {name} | {source.title} | {'all' if wanted[name] is None else f'{wanted[name]:,}'} | {_terms(source)} |"
        for name, source in sources.items()
    ]
    total = None if None in wanted.values() else sum(n or 0 for n in wanted.values())
    languages = [source.language for source in sources.values()]
    licence = effective_licence(sources)
    return _mix_page(mix.name, mix.about, mix.seed, total, languages, rows, licence, overlaps(sources))


def manifest_card(manifest: dict[str, Any]) -> str:
    """The card of a mix that was built: what was really taken, and out of which files."""
    rows = [
        f"| {part['id']} | {part['title']} | {part['taken']:,} | {part['licence']['spdx']}"
        f"{': ' + part['licence']['note'] if part['licence']['note'] else ''} |"
        for part in manifest["sources"]
    ]
    name, about, seed, total = (manifest[key] for key in ("name", "about", "seed", "rows"))
    languages = [part.get("language", "zh") for part in manifest["sources"]]
    page = _mix_page(name, about, seed, total, languages, rows, manifest["licence"], manifest.get("overlaps"))
    files = [
        f"| {part['id']} | {file['file']} | {file['bytes']:,} | `{file['sha256']}` |"
        for part in manifest["sources"]
        for file in part["files"]
    ]
    dropped = [
        f"- {part['id']}: " + ", ".join(f"{n:,} {why}" for why, n in part["dropped"].items())
        for part in manifest["sources"]
        if part["dropped"]
    ]
    if dropped:
        page += "\n## Left out\n\n" + "\n".join(dropped) + "\n"
    if found := manifest.get("decontamination"):
        names = ", ".join(file["file"] for file in found["files"])
        page += f"\n## Decontamination\n\n{found['removed']:,} records that share 13 characters with {names}.\n"
    if found := manifest.get("heldout"):
        page += f"\n{found['rows']:,} more rows are held out, in {found['file']}.\n"
    if files:
        page += "\n## Inputs\n\n| source | file | bytes | sha256 |\n|---|---|---|---|\n" + "\n".join(files) + "\n"
    return page + f"\nsha256 of {manifest['output']['file']}: `{manifest['output']['sha256']}`\n"


def _mix_page(
    name: str, about: str, seed: int, total: int | None, languages: list[str], rows: list[str],
    licence: dict[str, Any], inner: dict[str, Any] | None,
) -> str:  # fmt: skip
    head = _front_matter(name, total, _tag(licence), sorted(set(languages)))
    size = f"{total:,} rows" if total is not None else "All rows of its sources"
    opening = f"{about}\n\n" if about else ""
    inside_of = "".join(f"- {line}.\n" for line in overlap_lines(inner)) if inner else ""
    return (
        f"{head}\n# {name}\n\n{opening}{size}, drawn with seed {seed}. One record a line: `instruction`, `input`, "
        "`output`, `system`, `history`, `id`, `source`, `meta`.\n\n## Parts\n\n"
        "| source | title | rows | licence |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\n"
        + (f"{inside_of}\n" if inside_of else "")
        + "## Licence\n\n"
        f"Every part keeps its own licence. Taken together: {licence['summary']}.\n"
    )


def _front_matter(title: str, rows: int | None, tag: str, languages: list[str]) -> str:
    import yaml

    size = next((name for bound, name in SIZES if rows is not None and rows < bound), "n>1M" if rows else None)
    values = {
        "pretty_name": title,
        "language": languages,
        "license": tag,
        "task_categories": ["text-generation"],
        **({"size_categories": [size]} if size else {}),
    }
    return f"---\n{yaml.safe_dump(values, allow_unicode=True, sort_keys=False)}---\n"


def _tag(licence: dict[str, Any]) -> str:
    """The hub's tag for what licences amount to: of one alone, where its name says all that is known of it."""
    spdx = {*licence["parts"].values()}
    (name,) = spdx if len(spdx) == 1 else ("",)
    more = licence["unclear"] or (licence["noncommercial"] and not terms_of(name).noncommercial)
    if more or len(name.split()) != 1 or name.lower().startswith("licenseref"):
        return "other"
    return name.lower().removesuffix("-only")


def _count(rows: int | None, about: int | None) -> str:
    return f"{rows:,}" if rows is not None else f"about {about:,}" if about else "-"


def _terms(source: Source) -> str:
    return source.licence.spdx + (f": {source.licence.note}" if source.licence.note else "")


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(no_file(path))
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path} is no manifest: {error}") from None
    if not isinstance(found, dict) or not {"name", "sources", "licence", "output"} <= set(found):
        raise DataError(f"{path} is no manifest of a mix; they are named <output>.manifest.json")
    return found
