"""Filters: which generated rows are kept, as pure functions of a record.

Each takes a record and its thresholds and gives `(keep, reason)`. `Filters` runs those that are switched on, in their
order in `FILTERS`, remembers what it has kept for the duplicates, and counts by reason. Thresholds are data:

    filters: {length: {max_output: 2000}, chinese_share: {least: 0.5}, repetition: false}
"""

from __future__ import annotations

import hashlib
import inspect
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from data_gen.records import DataError, Record
from teachers.base import nearest

Verdict = tuple[bool, str]
KEEP: Verdict = (True, "")

REFUSALS = re.compile(
    r"作[为為]一?[个個名款]?\s*(?:AI|人工智[能慧]|大?型?[语語]言模型|机器人|機器人)"
    r"|身[为為]一?[个個名]?\s*(?:AI|人工智[能慧])"
    r"|我(?:只)?是一?[个個名款]?\s*(?:AI|人工智[能慧]|大?型?[语語]言模型)"
    r"|as an ai(?: language)? (?:model|assistant)",
    re.IGNORECASE,
)
APOLOGIES = re.compile(
    r"^\W*(?:非常|十分|很|真的)?(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾).{0,12}?(?:无法|無法|不能|没办法|沒辦法|不可以|做不到)"
    r"|^\W*我(?:无法|無法|不能|没办法|沒辦法)(?:提供|回答|完成|满足|滿足|帮助|幫助|访问|訪問|协助|協助|[处處]理|生成|[执執]行|查看|看到)"
    r"|^\W*(?:i'm sorry|i am sorry|sorry),? (?:but )?i (?:can|am)",
    re.IGNORECASE,
)
_SHOWN = r"(?:图片?|圖片?|照片|相片|图像|圖像|视频|視頻|影片|音频|音頻|音訊|录音|錄音|截图|截圖|图表|圖表)"
MEDIA = re.compile(
    rf"(?:这|這|以下|下面|下列|上面|上述|给出的|給出的|提供的|附上的|所示的?)(?:[一几幾]?[张張幅段个個份]|的)?{_SHOWN}"
    r"|看图|看圖|如图|如圖|附图|附圖|下图|下圖|上图|上圖|图中|圖中|图片中|圖片中"
    rf"|(?:观看|觀看|收听|收聽|聆听|聆聽|点击|點擊|上传|上傳)[^，。,.]{{0,6}}(?:{_SHOWN}|链接|鏈接|連結)"
    rf"|<(?:image|img|video|audio)\b",
    re.IGNORECASE,
)


def empty(record: Record) -> Verdict:
    """An instruction and an answer are there."""
    return (bool(record.instruction.strip() and record.output.strip()), "empty")


def truncated(record: Record) -> Verdict:
    """The teacher came to its end by itself (`finish_reason`)."""
    return (record.meta.get("finish_reason") != "length", "truncated")


def length(
    record: Record, min_instruction: int = 2, max_instruction: int = 4000, min_output: int = 1, max_output: int = 8000
) -> Verdict:
    """Characters of instruction with input, and of the answer, lie in their bounds."""
    asked, answered = len(record.instruction.strip()) + len(record.input), len(record.output.strip())
    for count, least, most, name in (
        (asked, min_instruction, max_instruction, "instruction"),
        (answered, min_output, max_output, "output"),
    ):
        if not least <= count <= most:
            return (False, f"{name} too {'short' if count < least else 'long'}")
    return KEEP


def chinese_share(record: Record, least: float = 0.3) -> Verdict:
    """Of the letters in instruction and answer, at least this share is 汉字 (low: code has few)."""
    letters = [char for char in record.instruction + record.output if char.isalpha()]
    if not letters:
        return KEEP
    share = sum("㐀" <= char <= "鿿" for char in letters) / len(letters)
    return (share >= least, "not Chinese")


def refusal(record: Record) -> Verdict:
    """The answer is none of "作为一个AI……", "抱歉，我无法……", in either script."""
    talks_of_itself = REFUSALS.search(record.output) and not REFUSALS.search(record.instruction + record.input)
    return (not (talks_of_itself or APOLOGIES.search(record.output)), "refusal")


def media(record: Record) -> Verdict:
    """The task needs no picture, film or sound that is not there."""
    return (not MEDIA.search(f"{record.instruction}\n{record.input}"), "media")


def repetition(record: Record, gram: int = 8, least_distinct: float = 0.5, from_characters: int = 48) -> Verdict:
    """The answer does not run in circles: enough of its n-grams are distinct."""
    text = record.output
    count = len(text) - gram + 1
    if len(text) < from_characters or count < 1:
        return KEEP
    distinct = len({text[i : i + gram] for i in range(count)})
    return (distinct >= least_distinct * count, "repetition")


def duplicate(record: Record, seen: set[bytes]) -> Verdict:
    """Nothing with the same normalised instruction and input was kept; `seen` is only read."""
    return (task_digest(record) not in seen, "duplicate")


FILTERS: dict[str, Callable[..., Verdict]] = {
    "empty": empty,
    "truncated": truncated,
    "length": length,
    "chinese_share": chinese_share,
    "refusal": refusal,
    "media": media,
    "repetition": repetition,
    "duplicate": duplicate,
}


def normalised(text: str) -> str:
    """One form for what differs in width, case, white space and closing punctuation only."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(folded.split()).rstrip("。.!?,;:…~")


def task_digest(record: Record) -> bytes:
    """Eight bytes that stand for instruction and input (and the turns before them), normalised."""
    asked = [record.system, *(turn for pair in record.history for turn in pair), record.instruction, record.input]
    return hashlib.blake2b("\x1f".join(map(normalised, asked)).encode(), digest_size=8).digest()


class Filters:
    """`Filters({"length": {"max_output": 500}, "media": False})`: all others stay on with their defaults."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = dict(settings or {})
        self.rejected: Counter[str] = Counter()
        self._seen: set[bytes] = set()
        self._active = [(name, check, self._options(name, check)) for name, check in FILTERS.items() if self._on(name)]
        for name in self.settings:
            if name not in FILTERS:
                raise DataError(f"unknown filter {name!r}{nearest(name, FILTERS)}")

    def _on(self, name: str) -> bool:
        return self.settings.get(name, True) is not False

    def _options(self, name: str, check: Callable[..., Verdict]) -> dict[str, Any]:
        given = self.settings.get(name)
        options = {} if given is None or given is True else given
        if not isinstance(options, Mapping):
            raise DataError(f"filter {name!r} takes its thresholds as 'name: value', or false; found {given!r}")
        takes = [option for option in inspect.signature(check).parameters if option not in {"record", "seen"}]
        for option, value in options.items():
            if option not in takes:
                raise DataError(f"filter {name!r} has no threshold {option!r}{nearest(option, takes)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(f"threshold {option!r} of filter {name!r} must be a number, not {value!r}")
        return {"seen": self._seen} if name == "duplicate" else dict(options)

    def check(self, record: Record) -> str:
        """Why a record is rejected, "" when it is kept; counts and remembers."""
        for _, check, options in self._active:
            keep, reason = check(record, **options)
            if not keep:
                self.rejected[reason] += 1
                return reason
        self._seen.add(task_digest(record))
        return ""
