"""Columns that are the user's own: made into records by a mapping, which is proposed where nobody gave one.

`{"instruction": "title", "output": "answers.0.text"}` says which column is which. The proposal is a guess by the names
that such columns usually have; it is only ever shown, as an option to be copied, and never followed by itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from data_gen.fields import as_dict, present, reach, text_of
from data_gen.records import DataError, Record
from teachers.base import nearest

COLUMNS = ("instruction", "input", "output", "system")
"""What `--columns` can fill"""
NEEDED = ("instruction", "output")
"""Those of them that no row may lack"""
USUAL = {
    "instruction": "instruction question prompt query problem ask title input user human q 问题 提问 指令 题目 标题 问",
    "output": "output answer response reply completion target chosen solution assistant bot a 答案 回答 回复 输出 答",
    "input": "input context passage background description desc 上下文 背景 材料 输入 描述",
    "system": "system 系统",
}
"""How columns are called elsewhere, the surest names first"""
SHOWN = 12
"""Columns that a message names"""


def parse_columns(text: str | dict[str, str] | None) -> dict[str, str] | None:
    """`instruction=title,output=answer` (or, in a config, a mapping) as a mapping. A name may hold commas."""
    if text is None or isinstance(text, dict):
        return text
    pairs = [pair.split("=", 1) for pair in re.split(r",(?=[^,=]*=)", text)]
    if any(len(pair) != 2 or not all(part.strip() for part in pair) for pair in pairs):
        raise DataError(f"--columns {text!r} must look like instruction=title,input=desc,output=answer")
    return {to.strip(): name.strip() for to, name in pairs}


def from_columns(columns: Mapping[str, str]) -> Callable[[Any], Record]:
    """A converter for the user's own column names."""
    for target in columns:
        if target not in COLUMNS:
            raise DataError(f"--columns: a record has no {target!r}{nearest(target, COLUMNS)}")
    if "output" not in columns:
        for target, name in columns.items():
            if "=" in name:
                raise DataError(f"--columns: {target}={name} is one column; between two there is a comma: , and not ，")
        raise DataError("--columns must say which column is the output, as in output=answer")

    def convert(row: Any) -> Record:
        named = as_dict(row)
        said = {
            to: (text_of(*reach(named, name), required=True) if to in NEEDED else present(*reach(named, name)))
            for to, name in columns.items()
        }
        return Record(said.get("instruction", ""), said.get("input", ""), said["output"], said.get("system", ""))

    return convert


def lacking(row: Any, columns: Mapping[str, str]) -> list[str]:
    """The columns of a mapping that are needed and that a row does not have."""
    found = [(name, reach(as_dict(row), name)) for to, name in columns.items() if to in NEEDED]
    return [name for name, (inner, last) in found if last not in inner]


def proposed(row: Any) -> dict[str, str]:
    """A mapping for rows like this one: by usual names, or else in the order in which the columns stand."""
    left = [*_texts(row)]
    found: dict[str, str] = {}
    for target, usual in USUAL.items():
        name = next((name for word in usual.split() for name in left if _is_called(name, word)), None)
        if name is not None:
            found[target] = name
            left.remove(name)
    if "output" not in found:
        if "instruction" not in found and len(left) > 1:
            found["instruction"] = left.pop(0)
        found |= {"output": left[0]} if left else {"output": found.popitem()[1]} if found else {}
    elif "instruction" not in found and left:
        found["instruction"] = left[0]
    return {target: found[target] for target in COLUMNS if target in found}


def _texts(value: Any, name: str = "") -> Iterator[str]:
    """The columns that hold text, those inside of others by their paths; the first of a list stands for it."""
    if isinstance(value, str):
        yield name
    elif isinstance(value, list) and name:
        yield from _texts(value[0], f"{name}.0") if value else ()
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{name}.{key}" if name else str(key))


def _is_called(name: str, word: str) -> bool:
    """Whether a column's name is, or has among its words, this one; of Chinese, any part of it."""
    name = name.casefold()
    return word in name if not word.isascii() else not {word, f"{word}s"}.isdisjoint(re.findall(r"[a-z]+", name))


def unknown_form(row: Any, path: str) -> DataError:
    """What to say of a row whose columns nobody knows: what they are, and options that may be copied."""
    names = [str(name) for name in row] if isinstance(row, dict) else []
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    lists = [name for name in names if isinstance(row[name], list) and row[name] and isinstance(row[name][0], dict)]
    if lists:
        named = re.sub(r"\W+", "-", path.rpartition("/")[2].partition(".")[0], flags=re.ASCII).strip("-_") or "mine"
        where = f"distill datasets add {shlex.quote(path)} --id {named} --at {shlex.quote(lists[0])}"
        return DataError(
            f"these columns are no known form: {shown}; where the rows are the list {lists[0]!r}, say so: {where}"
        )
    if names == ["text"] and "\t" in str(row["text"]):
        return DataError("there are tabs in these lines: call the file .tsv, and they are cells under column names")
    import yaml

    columns = proposed(row) or {"instruction": "title", "output": "answer"}
    option = shlex.quote(",".join(f"{to}={name}" for to, name in columns.items()))
    in_yaml = yaml.safe_dump(columns, allow_unicode=True, sort_keys=False, default_flow_style=True, width=10**6).strip()
    return DataError(
        f"these columns are no known form: {shown}; say which is which (in a recipe columns: {in_yaml}), "
        f"as in --columns {option}"
    )
