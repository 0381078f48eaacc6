"""The Batch API of an OpenAI-compatible endpoint: the same answers within a day, at half the price.

`generate` takes all requests it is given, uploads them as files, submits a batch for each and polls; results come in
any order and are matched by a hash of the request's body. What a batch did not answer (expired, a server's error) goes
into another one, a refused request fails alone. `state` remembers what is under way, so that a run that was stopped, or
killed at any moment, finds its batches again instead of paying for them twice.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from teachers.base import Completion, Request, TeacherError
from teachers.batch_api import BatchApi
from teachers.chatgpt import ChatGPTTeacher
from teachers.efforts import Effort
from teachers.http_errors import Again, Never, of_status
from teachers.replies import Reply, of_body

MOST_REQUESTS, MOST_BYTES = 50_000, 150_000_000
"""Of one batch; OpenAI takes 50,000 requests and 200 MB"""
ROW = {"file", "batch", "ids"}
OVER = {"completed", "failed", "expired", "cancelled"}
Outcome = Reply | Again | Never
TICK_S = 0.2
"""How soon a stopped run notices"""


class BatchTeacher(ChatGPTTeacher):
    """`BatchTeacher("gpt-4o-mini", state="out.jsonl.batches")`; the other options as ChatGPTTeacher has them."""

    batched = True
    window = MOST_REQUESTS
    """So many requests are wanted at once"""

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout_s: float = 300.0,
        max_attempts: int = 6,
        parameters: Mapping[str, Any] | None = None,
        response_format: str | None = None,
        logprobs: int | None = None,
        backoff_s: float = 0.5,
        poll_s: float = 30.0,
        state: str | None = None,
    ) -> None:
        super().__init__(
            model,
            base_url,
            api_key_env,
            timeout_s=timeout_s,
            max_attempts=max_attempts,
            parameters=parameters,
            response_format=response_format,
            logprobs=logprobs,
            backoff_s=backoff_s,
        )
        if poll_s <= 0:
            raise TeacherError(f"poll_s must be above 0, not {poll_s}")
        self.poll_s = poll_s
        self._state = Path(state) if state else None
        self._pending: list[dict[str, Any]] = []
        """`{"file": id of the input, "batch": id or None, "ids": [...]}` a batch under way"""
        self._names: set[str] | None = None
        """Of all requests in batches under way"""
        self._stopped, self._said = False, ""
        self.tell: Callable[[str], None] = lambda said: print(said, file=sys.stderr, flush=True)

    def keep_state(self, path: str | Path) -> None:
        """Where batches under way are remembered, unless that was said already."""
        self._state = self._state or Path(path)

    def committed(self, request: Request) -> bool:
        """Whether a batch under way holds it: then it is paid for, and only to be fetched."""
        if self._names is None:
            self._names = {name for batch in self._load() for name in batch["ids"]}
        return bool(self._names) and self._id(request) in self._names

    def wind_down(self) -> None:
        """Stop waiting; the batches go on at the endpoint, and the next `generate` fetches their answers."""
        self._stopped = True

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Submit all of them, wait, and give what comes."""
        self._stopped = False
        asked: dict[str, Request] = {}
        twins: list[tuple[str, Request]] = []
        for request in requests:
            if asked.setdefault(name := self._id(request), request) is not request:
                twins.append((name, request))
        if not asked:
            return
        try:
            with BatchApi(self, self._sleep) as api:
                for name, completion in self._answers(asked, api):
                    yield completion
                    yield from (replace(completion, key=twin.key, usage={}) for other, twin in twins if other == name)
        except (Never, Again) as error:  # of the API itself, after all attempts
            first = next(iter(asked.values()))
            yield Completion(first.key, error=self.scrub(str(error)), finish_reason="error", fatal=True)

    def _answers(self, asked: dict[str, Request], api: BatchApi) -> Iterator[tuple[str, Completion]]:
        """Rounds of submitting and collecting, until every request has its answer or its error."""
        self._pending = self._load()
        waiting = dict(asked)
        efforts = {name: Effort() for name in asked}
        under_way = {name for batch in self._pending for name in batch["ids"]}
        todo = [name for name in waiting if name not in under_way]
        while waiting and not self._stopped:
            self._submit([(name, waiting[name]) for name in todo], api)
            mine = [batch for batch in self._pending if any(name in waiting for name in batch["ids"])]
            todo = []
            while mine and not todo and not self._stopped:
                for batch in list(mine):
                    for name, outcome in self._outcomes(batch, mine, waiting, api):
                        effort, again = efforts[name], isinstance(outcome, Again)
                        if isinstance(outcome, Reply):
                            again = bool(effort.objection(outcome, waiting[name], self.wants_json))
                        effort.sent += 1
                        if again and effort.sent < self.max_attempts:
                            todo.append(name)
                        else:
                            yield name, self._completion(waiting.pop(name), outcome, effort)
                    if batch not in mine:
                        self._forget(batch, asked)
                if mine and not todo:
                    self._sleep(self.poll_s)

    def _outcomes(
        self, batch: dict[str, Any], mine: list[dict[str, Any]], waiting: dict[str, Request], api: BatchApi
    ) -> Iterator[tuple[str, Outcome]]:
        """What a batch has brought, if it is over; then it is no longer among `mine`."""
        left = {name for name in batch["ids"] if name in waiting}
        try:
            told = self._look(batch, api)
            if told.status not in OVER:
                return
            for name, outcome in self._collect(batch, told, waiting, api):
                left.discard(name)
                yield name, outcome
        except Never as error:
            if error.status != 404 or not batch["batch"]:
                raise
            yield from ((name, Again(str(error))) for name in sorted(left))  # lost there: submitted anew
        mine.remove(batch)

    def _completion(self, request: Request, outcome: Outcome, effort: Effort) -> Completion:
        if isinstance(outcome, Reply):
            self.heard()
            return Completion(
                request.key, outcome.text, outcome.reason, None, False, outcome.model, effort.usage, effort.sent,
                logprobs=outcome.logprobs,
            )  # fmt: skip
        error = self.scrub(str(outcome))
        return Completion(request.key, "", "error", error, outcome.fatal, "", effort.usage, effort.sent)

    def _id(self, request: Request) -> str:
        """The name of a request in a batch: whatever it is called here, its content decides."""
        body = orjson.dumps(self.body(request), option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(body, digest_size=16).hexdigest()

    def _submit(self, todo: list[tuple[str, Request]], api: BatchApi) -> None:
        """Upload and start batches for these requests."""
        file, size = _input(), 0
        names: list[str] = []
        for name, request in todo:
            line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": self.body(request)}
            content = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
            if names and (len(names) >= MOST_REQUESTS or size + len(content) > MOST_BYTES):
                self._start(file, names, api)
                file, names, size = _input(), [], 0
            file.write(content)
            names.append(name)
            size += len(content)
        if names:
            self._start(file, names, api)

    def _start(self, file: BinaryIO, names: list[str], api: BatchApi) -> None:
        with file:
            if self._stopped:
                return
            # Remembered before it starts: a kill in between leaves a file that its batch can be found by.
            batch: dict[str, Any] = {"file": api.upload(file), "batch": None, "ids": names}
        self._pending.append(batch)
        self._save()
        try:
            batch["batch"] = api.start(batch["file"])
        except Never:
            self._forget(batch)
            raise
        self._save()
        self.tell(f"batch {batch['batch']}: {len(names):,} requests submitted")

    def _look(self, batch: dict[str, Any], api: BatchApi) -> Any:
        """What the endpoint says of a batch; one whose name got lost is looked for by its file, or started."""
        if batch["batch"] is None:
            batch["batch"] = api.of_file(batch["file"]) or api.start(batch["file"])
            self._save()
        told = api.look(batch["batch"])
        counts = told.request_counts
        done = f", {counts.completed:,} of {counts.total:,} answered" if counts and counts.total else ""
        said = f"batch {told.id} {told.status}{done}"
        if self._said != said:
            self.tell(said)
        self._said = said
        return told

    def _collect(
        self, batch: dict[str, Any], told: Any, waiting: dict[str, Request], api: BatchApi
    ) -> Iterator[tuple[str, Outcome]]:
        """(name, outcome) of every request of this batch that is waited for."""
        if told.status == "failed":
            said = "; ".join(error.message or error.code or "" for error in (told.errors.data if told.errors else []))
            self._forget(batch)
            raise Never(f"{self.base_url} refused batch {told.id}: {said or 'it does not say why'}", fatal=True)
        missing = {name for name in batch["ids"] if name in waiting}
        for file in (told.output_file_id, told.error_file_id):
            for line in api.lines(file) if file else ():
                name = str(line.get("custom_id"))
                if name in missing:
                    missing.discard(name)
                    yield name, self._outcome(line)
        if told.status == "cancelled" and missing:
            self._forget(batch)
            raise Never(
                f"batch {told.id} was cancelled before {len(missing):,} of its requests were answered", fatal=True
            )
        for name in sorted(missing):
            yield name, Again(f"batch {told.id} ({told.status}) left this request unanswered")

    def _outcome(self, line: dict[str, Any]) -> Outcome:
        """What one line of a result means."""
        response, error = line.get("response") or {}, line.get("error") or {}
        status = int(response.get("status_code") or 0)
        if not status:
            return Again(str(error.get("message") or error.get("code") or "no answer"))
        if status >= 400:
            return of_status(status, {}, orjson.dumps(response.get("body") or {}))
        try:
            return of_body(response["body"], self.name)
        except (KeyError, IndexError, TypeError, AttributeError):
            return Again("no valid completion in the batch's result")
        except Never as held_back:
            return held_back

    def _sleep(self, seconds: float) -> None:
        """Sleep that `wind_down` ends."""
        end = time.monotonic() + seconds
        while not self._stopped and (left := end - time.monotonic()) > 0:
            time.sleep(min(TICK_S, left))

    def _load(self) -> list[dict[str, Any]]:
        if self._state is None or not self._state.exists():
            return list(self._pending)
        try:
            rows = orjson.loads(self._state.read_bytes())
        except orjson.JSONDecodeError:
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= ROW for row in rows):
            raise TeacherError(f"{self._state}, which names the batches under way, is damaged; it has to be removed")
        return rows

    def _save(self) -> None:
        self._names = None
        if self._state is None:
            return
        part = self._state.with_name(self._state.name + ".part")
        with part.open("wb") as file:
            file.write(orjson.dumps(self._pending))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._state)

    def _forget(self, batch: dict[str, Any], asked: Container[str] | None = None) -> None:
        """Its answers were handed over: all, or those that were `asked` for. The others are paid for and stay there."""
        if batch not in self._pending:
            return
        batch["ids"] = [name for name in batch["ids"] if asked is not None and name not in asked]
        if not batch["ids"]:
            self._pending.remove(batch)
        self._save()
        if not self._pending and self._state is not None:
            self._state.unlink(missing_ok=True)


def _input() -> BinaryIO:
    return tempfile.TemporaryFile()
