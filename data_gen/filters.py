"""Filters: which generated rows are kept.

Most are pure functions of a record and their thresholds that give `(keep, reason)`. `Filters` runs those that are
switched on, in their order in `FILTERS`, then asks whether the task is new (`novelty`, `against`: see novelty.py), and
counts by reason. Thresholds are data, and a strategy may come with defaults of its own:

    filters: {length: {max_output: 2000}, chinese_share: {least: 0.5}, repetition: false, novelty: {threshold: 0.6}}
"""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_gen.media_tasks import needs_media
from data_gen.normal import characters, normalised
from data_gen.places import Ids
from data_gen.records import DataError, Record
from data_gen.refusals import is_refusal
from teachers.base import nearest

if TYPE_CHECKING:
    from data_gen.known import Decisions, Known

Verdict = tuple[bool, str]
KEEP: Verdict = (True, "")


def strategy(record: Record) -> Verdict:
    """The strategy itself found nothing wrong, such as a failed evolution (`meta.failed`)."""
    return (not record.meta.get("failed"), str(record.meta.get("failed")))


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
    """The answer is none of "作为一个AI……", "抱歉，我无法……", in either script (see refusals.py)."""
    return (not is_refusal(f"{record.instruction}\n{record.input}", record.output), "refusal")


def media(record: Record) -> Verdict:
    """The task needs no picture, film, sound or page that is not there (see media_tasks.py)."""
    return (not needs_media(record.instruction, record.input), "media")


def repetition(record: Record, gram: int = 8, least_distinct: float = 0.5, from_characters: int = 48) -> Verdict:
    """The answer does not run in circles: enough of its n-grams are distinct."""
    text = record.output
    count = len(text) - gram + 1
    if len(text) < from_characters or count < 1:
        return KEEP
    distinct = len({text[i : i + gram] for i in range(count)})
    return (distinct >= least_distinct * count, "repetition")


def duplicate(record: Record, seen: Container[bytes]) -> Verdict:
    """Nothing with the same normalised instruction and input was kept; `seen` is only read."""
    return (task_digest(record) not in seen, "duplicate")


FILTERS: dict[str, Callable[..., Verdict]] = {
    "strategy": strategy,
    "empty": empty,
    "truncated": truncated,
    "length": length,
    "chinese_share": chinese_share,
    "refusal": refusal,
    "media": media,
    "repetition": repetition,
    "duplicate": duplicate,
}
IN_TURNS = {"length", "chinese_share", "refusal", "media", "repetition"}
"""Filters that look at what was said. 这首歌 is the one spoken of when it comes in a later question"""
SIMILAR: dict[str, dict[str, Any]] = {
    "against": {"files": [], "threshold": 0.7},
    "novelty": {"threshold": 0.7, "with_input": False},
}
"""Options of the two filters that compare with other texts"""


def task_digest(record: Record) -> bytes:
    """Eight bytes that stand for instruction and input (and the turns before them), normalised."""
    asked = [record.system, *(turn for pair in record.history for turn in pair), record.instruction, record.input]
    return hashlib.blake2b("\x1f".join(map(normalised, asked)).encode(), digest_size=8).digest()


def read_by(name: str, record: Record) -> list[Record]:
    """What a filter reads of a conversation that the teacher wrote (`meta.turns`): all of it, not the last turn."""
    if name not in IN_TURNS:
        return [record]
    turns = [Record(asked, output=said) for asked, said in (*record.history, (record.instruction, record.output))]
    whole = Record("\n".join(turn.instruction for turn in turns), output="\n".join(turn.output for turn in turns))
    of: dict[str, list[Record]] = {"media": turns[:1], "chinese_share": [whole], "repetition": [*turns, whole]}
    return of.get(name, turns)


def opening(record: Record) -> str:
    """What the user says first: that is what makes a conversation a new one."""
    return record.history[0][0] if record.history else record.instruction


class Filters:
    """`Filters({"length": {"max_output": 500}, "media": False})`: all others stay on with their defaults.

    `defaults` are settings by the name of a strategy, for the rows that it makes; what is in `settings` wins.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, defaults: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.settings = dict(settings or {})
        self.rejected: Counter[str] = Counter()
        self._defaults = defaults or {}
        self._seen = Ids()
        """Ids of the rows that were kept, by the digests of their tasks"""
        self._chains: dict[str, list[tuple[Callable[..., Verdict], dict[str, Any]]]] = {}
        for name in (*self.settings, *(name for of in self._defaults.values() for name in of)):
            if name not in FILTERS and name not in SIMILAR:
                raise DataError(f"unknown filter {name!r}{nearest(name, [*FILTERS, *SIMILAR])}")
        for strategy_name in ("", *self._defaults):
            self._chains[strategy_name] = [
                (check, self._options(name, check, strategy_name))
                for name, check in FILTERS.items()
                if self._setting(name, strategy_name) is not False
            ]
        self._against = self._existing()
        self._with_input, self._decisions = self._new_ones()

    def _setting(self, name: str, strategy_name: str = "") -> Any:
        return self.settings.get(name, self._defaults.get(strategy_name, {}).get(name, True))

    def _options(self, name: str, check: Callable[..., Verdict], strategy_name: str) -> dict[str, Any]:
        takes = [option for option in inspect.signature(check).parameters if option not in {"record", "seen"}]
        options = _mapping_of(name, self._setting(name, strategy_name), takes)
        for option, value in options.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(f"threshold {option!r} of filter {name!r} must be a number, not {value!r}")
        return {"seen": self._seen} if name == "duplicate" else options

    def _existing(self) -> Known | None:
        """The sets of `against`, read in."""
        given = self.settings.get("against", False)
        if given is False or given == []:
            return None
        from data_gen.known import Known

        given = {"files": given} if isinstance(given, list | str) else given
        options = SIMILAR["against"] | _mapping_of("against", given, list(SIMILAR["against"]))
        files = [options["files"]] if isinstance(options["files"], str) else options["files"]
        if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
            raise DataError("filter 'against' needs files to compare with: {files: [eval.jsonl], threshold: 0.7}")
        known = Known(_threshold("against", options), files)
        self.settings["against"] = {**options, "files": known.fingerprints}
        return known

    def _new_ones(self) -> tuple[bool, Decisions | None]:
        """Whether inputs count, and the index of what is accepted; None when no strategy's rows are looked up there."""
        if all(self._setting("novelty", name) is False for name in self._defaults or [""]):
            return False, None
        from data_gen.known import Decisions

        options = SIMILAR["novelty"] | _mapping_of("novelty", self._setting("novelty"), list(SIMILAR["novelty"]))
        if not isinstance(options["with_input"], bool):
            raise DataError(f"option 'with_input' of filter 'novelty' is true or false, not {options['with_input']!r}")
        return options["with_input"], Decisions(_threshold("novelty", options))

    @contextmanager
    def remembering(self, path: Path) -> Iterator[None]:
        """Decisions on novelty that stand in `path` are not computed again; afterwards all stand there."""
        if self._decisions is None:
            yield
            return
        self._decisions.load(path)
        try:
            yield
        finally:
            self._decisions.save(path)

    def check(self, record: Record) -> str:
        """Why a record is rejected, "" when it is kept; counts and remembers. A neighbour is noted in `meta`."""
        name = record.meta.get("strategy", "")
        reason = self._first_objection(record, name if name in self._chains else "") or self._known(record, name)
        if reason:
            self.rejected[reason] += 1
        else:
            self._seen.setdefault(task_digest(record), record.id)
        return reason

    def _first_objection(self, record: Record, name: str) -> str:
        written = bool(record.history and record.meta.get("turns"))
        for check, options in self._chains[name]:
            if written:
                verdicts = (check(each, **options) for each in read_by(check.__name__, record))
                keep, reason = next((verdict for verdict in verdicts if not verdict[0]), KEEP)
            else:
                keep, reason = check(record, **options)
            if not keep:
                if check is duplicate:  # of the same characters, so there is no need to keep the other's
                    kept = self._seen[task_digest(record)]
                    record.meta["neighbour"] = {"id": kept, "text": characters(opening(record)), "rouge_l": 1.0}
                return reason
        return ""

    def _known(self, record: Record, name: str) -> str:
        """Why the task is no new one; a new one is remembered."""
        asked = opening(record)
        if self._against is not None and (found := self._against.nearest(asked, record.input)):
            record.meta["neighbour"] = {"in": found.name, "text": found.text, "rouge_l": round(found.score, 4)}
            return f"near {Path(found.name.rpartition(':')[0]).name}"
        if self._decisions is None or self._setting("novelty", name) is False:
            return ""
        said = f"{asked}\n{record.input}" if self._with_input else asked
        if found := self._decisions.accept(said, record.id):
            record.meta["neighbour"] = {"id": found.name, "text": found.text, "rouge_l": round(found.score, 4)}
            return "not novel"
        return ""


def _mapping_of(name: str, given: Any, takes: list[str]) -> dict[str, Any]:
    options = {} if given is None or isinstance(given, bool) else given
    if not isinstance(options, Mapping):
        raise DataError(f"filter {name!r} takes its thresholds as 'name: value', or false; found {given!r}")
    for option in options:
        if option not in takes:
            raise DataError(f"filter {name!r} has no threshold {option!r}{nearest(option, takes)}")
    return dict(options)


def _threshold(name: str, options: Mapping[str, Any]) -> float:
    value = options["threshold"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise DataError(f"threshold 'threshold' of filter {name!r} must be a number in (0, 1], not {value!r}")
    return float(value)
