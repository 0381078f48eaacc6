"""The files of one generated output, and the stamp that says what it was made with.

The rows are written to `out.jsonl.part` and take their name when the job has come to its end. The stamp keeps the
recipe (what decides the answers) apart from the filters (what decides which are kept): with other filters the same
journal is read again and nothing is paid; with another recipe an output is refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from data_gen.journal import Journal, old_name
from data_gen.records import DataError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""A disk without room has a sentence of its own"""


@dataclass(slots=True)
class Report:
    """What a run did; also what `out.recipe.json` keeps of it."""

    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    accepted_of: dict[str, int] = field(default_factory=dict)
    """Accepted rows by strategy"""
    failed: int = 0
    last_failure: str = ""
    requests: int = 0
    """Answers that the rows were read from"""
    reused: int = 0
    """Of those, found in the journal"""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """What this run has paid for"""
    cost: str = ""
    """Tokens, and money where prices are known, of all runs of this output together"""
    without_logprobs: int = 0
    """Answers that came without the probabilities that were asked for"""
    uncounted: int = 0
    """Answers of which the server did not say how many tokens they took"""
    stopped: str = ""
    """Why it ended before its time: the budget"""
    exhausted: bool = False
    """The strategy has nothing more to ask"""
    complete: bool = False
    ran: bool = True
    """False: the output was complete already"""


class Output:
    """`with Output(path, None).open(recipe, filters, force=False) as journal: ...; output.finish(report)`."""

    def __init__(self, path: Path, journal: Path | None) -> None:
        self.path = path
        self.journal_path = journal or path.with_name(path.name + ".journal")
        stem = path.name.removesuffix(".jsonl")
        self.rejected_path = path.with_name(stem + ".rejected.jsonl")
        self.stamp_path = path.with_name(stem + ".recipe.json")
        self.novelty_path = path.with_name(stem + ".novelty.jsonl")
        self.report = Report()
        """What the last run with this recipe and these filters said of itself; incomplete when there was none"""
        self._stamp: dict[str, Any] = {}
        self._journal: Journal
        self.finished = False
        """The files have their names"""
        self._folders: list[Path] = []
        """Those that were made for it, the innermost first"""

    def files(self) -> list[Path]:
        """All that belongs to it, under all their names."""
        named = (self.path, self.journal_path, self.rejected_path, self.stamp_path, self.novelty_path)
        return [each for name in named for each in (name, _part(name))]

    @contextmanager
    def open(
        self, recipe: dict[str, Any], filters: dict[str, Any], inputs: dict[str, Any], *, force: bool
    ) -> Iterator[Journal]:
        """Lock the output, check its recipe, give its journal. `force`: what was there becomes `.old` with the first
        answer.

        Other filters, and other rows in the files that are read (`inputs`), are no other recipe: what they share
        with the run before is in the journal. A run that is stopped before its first answer leaves nothing behind, and
        all as it was.
        """
        self._prepare_folder()
        if not force and not os.path.exists(self.journal_path):  # a refusal leaves nothing behind
            self._check(self._read_stamp(), recipe)
        with self._telling():
            opened = Journal(self.journal_path)
        with opened as journal:
            if not self.journal_path.exists():  # a run that was stopped took it away while it was being opened
                raise DataError(f"{self.journal_path} was in use by another run until now; try again")
            try:
                there = len(journal) or self.path.exists()
                stamp = self._read_stamp(damaged={} if force else None)
                anew = force and there and not self._begun_by_force(stamp, recipe)
                if anew:
                    stamp = {}
                elif there:  # else another recipe loses nothing
                    self._check(stamp, recipe)
                same = (stamp.get("filters"), stamp.get("inputs", {})) == (filters, inputs)
                if same and self.path.exists() and stamp.get("report"):
                    self.report = Report(**stamp["report"])
                self._stamp = {"recipe": recipe, "filters": filters, "inputs": inputs, "report": asdict(self.report)}
                self._stamp["forced"] = force or bool(stamp.get("forced"))
                self._journal = journal
                if anew:
                    journal.start_again(self._put_aside)
                else:
                    self._write_stamp()
                yield journal
            finally:
                if not (len(journal) or self.finished):
                    self._clear_away(all_that_was=journal.holds_back)

    def _put_aside(self) -> None:
        """What an output of before left."""
        for path in (self.path, self.rejected_path):
            with self._telling(), suppress(FileNotFoundError):
                os.replace(path, old_name(path))
        self._write_stamp()

    @contextmanager
    def writers(self) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """Files for kept and rejected rows, under their temporary names."""
        with ExitStack() as files:
            with self._telling():
                kept, rejected = (
                    files.enter_context(open(_part(path), "wb")) for path in (self.path, self.rejected_path)
                )
            yield kept, rejected

    def finish(self, report: Report) -> None:
        """Give the files their names, then say so in the stamp."""
        self._journal.renew()
        with self._telling():
            for path in (self.rejected_path, self.path):
                with open(_part(path), "rb") as file:
                    os.fsync(file.fileno())
                os.replace(_part(path), path)
        self._stamp |= {"report": asdict(report), "forced": self._stamp["forced"] and not report.complete}
        self._write_stamp()
        self.finished = True

    def told(self, report: Report, answers: int) -> str:
        """How far a run came that was stopped, and what can be made of its answers; a next run writes `.part` anew."""
        rejected = f"; rejected: {reasons(report)} (in {_part(self.rejected_path)})" if report.rejected else ""
        said = f"so far: {report.accepted} rows in {_part(self.path)}{rejected}; {report.cost} in all runs"
        if not answers:
            return said
        return f"{said}\nthe same command with --reparse makes {self.path} of all {answers} answers, and asks nothing"

    def _clear_away(self, all_that_was: bool) -> None:
        """Nothing was answered: what was begun goes, what was there before stays."""
        begun = [_part(self.path), _part(self.rejected_path)]
        if not all_that_was:
            begun.append(self.journal_path)
            begun += [] if self.path.exists() else [self.stamp_path, self.novelty_path]
        for path in begun:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else has put something there
            for folder in self._folders:
                folder.rmdir()

    def _prepare_folder(self) -> None:
        if os.path.isdir(self.path):
            raise DataError(f"{self.path} is a folder; name a file, such as {self.path / 'out.jsonl'}")
        if str(self.path) == "-" or (os.path.exists(self.path) and not os.path.isfile(self.path)):
            raise DataError(f"{self.path} is no ordinary file, as it must be; name one, such as out.jsonl")
        self._folders = [folder for folder in self.path.parents if not os.path.exists(folder)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"cannot write {self.path}: {self.path.parent} is no folder") from None
        except OSError as error:
            raise self._cannot(error) from None
        for path in self.files():
            with self._telling(), suppress(FileNotFoundError):
                os.stat(path)  # says so where the name is too long
            if os.path.isdir(path):
                raise DataError(
                    f"cannot write {self.path}: {path}, which belongs to it, is a folder; move that away, or give "
                    "another output"
                )
            if os.path.exists(path) and not os.access(path, os.W_OK):
                raise self._cannot(PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)))
        for folder in {self.path.parent, self.journal_path.parent}:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise self._cannot(PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder)))

    def _cannot(self, error: OSError) -> DataError:
        """The sentence when one of the files cannot be written."""
        where = str(error.filename or self.path)
        told = {
            errno.EACCES: f"no permission to write {'in ' if os.path.isdir(where) else ''}{where}",
            errno.ENOENT: f"no file can be made in {os.path.dirname(os.path.abspath(where))}",
        }
        why = told.get(error.errno or 0, f"{error.strerror} ({where})")
        return DataError(f"cannot write {self.path}: {why}; give another output with -o, or mend that")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """An error of the system names the output, not only the file beside it that could not be written."""
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise
            raise self._cannot(error) from None

    @staticmethod
    def _begun_by_force(stamp: dict[str, Any], recipe: dict[str, Any]) -> bool:
        """A run that started again, and was stopped, is gone on with by the same command."""
        return bool(stamp.get("forced")) and stamp.get("recipe") == recipe

    def _read_stamp(self, damaged: dict[str, Any] | None = None) -> dict[str, Any]:
        if not self.stamp_path.exists():
            return {}
        try:
            stamp = orjson.loads(self.stamp_path.read_bytes())
        except orjson.JSONDecodeError:
            stamp = None
        if not isinstance(stamp, dict) or not isinstance(stamp.get("recipe"), dict):
            if damaged is not None:
                return damaged
            raise DataError(f"{self.stamp_path} is damaged; --force starts {self.path} again")
        return stamp

    def _check(self, stamp: dict[str, Any], recipe: dict[str, Any]) -> None:
        """Refuse what another recipe, or something else altogether, has made."""
        if not stamp:
            if self.path.exists():
                raise DataError(
                    f"{self.path} exists and has no {self.stamp_path.name} beside it, so this command did not make it; "
                    "give another output, or --force to overwrite it"
                )
            return
        old, new = _flat(stamp["recipe"]), _flat(recipe)
        others = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if others:
            changes = ", ".join(f"{name} {_short(old.get(name))}, now {_short(new.get(name))}" for name in others[:3])
            changes += ", ..." if len(others) > 3 else ""
            raise DataError(
                f"{self.path} was made with another recipe ({changes}); give another output, or --force to start again"
            )

    def _write_stamp(self) -> None:
        part = _part(self.stamp_path)
        with self._telling():
            part.write_bytes(orjson.dumps(self._stamp, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            os.replace(part, self.stamp_path)


def reasons(report: Report) -> str:
    """Why rows were turned down, and how many each."""
    return ", ".join(f"{reason} {count}" for reason, count in report.rejected.items())


def _flat(settings: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Settings inside settings by one name each: `members.chats.turns`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{within}{name}.") if isinstance(value, Mapping) else {f"{within}{name}": value}
    return flat


def _short(value: Any) -> str:
    return shown if len(shown := repr(value)) <= 80 else f"{shown[:80]}..."


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
