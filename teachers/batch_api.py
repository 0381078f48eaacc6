"""The calls of a Batch API: upload, start, look, fetch. Each is tried again as any other request is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from teachers.efforts import CONNECT_S, LONGEST_PAUSE_S, given_up
from teachers.http_errors import Again, Never, of_connection, of_status

if TYPE_CHECKING:
    from teachers.chatgpt import ChatGPTTeacher

CHUNK = 2**20
"""Bytes of a result that are in memory at a time"""


class BatchApi:
    """`with BatchApi(teacher, sleep) as api: api.start(api.upload(file))`; failures are Again or Never."""

    def __init__(self, teacher: ChatGPTTeacher, sleep: Callable[[float], None]) -> None:
        from openai import DefaultHttpxClient, OpenAI, Timeout

        self.teacher, self._sleep = teacher, sleep
        self.key = teacher.ring.keys[0]
        """Files belong to an account: further keys cannot share them"""
        self._reached = False
        http = DefaultHttpxClient(trust_env=not teacher.on_this_machine)
        key, timeout = self.key.secret or "none-needed", Timeout(max(teacher.timeout_s, 60.0), connect=CONNECT_S)
        where = teacher.address.for_client()
        self._openai = OpenAI(api_key=key, max_retries=0, timeout=timeout, http_client=http, **where)

    def __enter__(self) -> BatchApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._openai.close()

    def upload(self, file: BinaryIO) -> str:
        """The id of a file of requests."""

        def send() -> str:
            file.seek(0)
            return self._name(self._openai.files.create(file=("requests.jsonl", file), purpose="batch"))

        return self._call(send)

    def start(self, file: str) -> str:
        """The id of a batch over an uploaded file."""
        create = self._openai.batches.create
        where = "/v1/chat/completions"
        return self._call(lambda: self._name(create(input_file_id=file, endpoint=where, completion_window="24h")))  # type: ignore[arg-type]

    def of_file(self, file: str) -> str | None:
        """The batch that was started over this file, if one was."""
        return self._call(
            lambda: next((told.id for told in self._openai.batches.list(limit=100) if told.input_file_id == file), None)
        )

    def look(self, batch: str) -> Any:
        """What the endpoint says of a batch."""

        def told() -> Any:
            batch_told = self._openai.batches.retrieve(batch)
            self._name(batch_told)
            return batch_told

        return self._call(told)

    def _name(self, told: Any) -> str:
        """The id of what an endpoint tells; a web page, or what else has none, is no Batch API."""
        name = getattr(told, "id", None)
        if not isinstance(name, str) or not name:
            sentence = f"{self.teacher.base_url} has no Batch API: it answers with something else; leave out --batch"
            raise Never(sentence, fatal=True)
        return name

    def lines(self, file: str) -> Iterator[dict[str, Any]]:
        """The rows of a result, through a file on disk: it may be large."""
        with tempfile.TemporaryFile() as kept:

            def fetch() -> None:
                kept.seek(0)
                kept.truncate()
                with self._openai.files.with_streaming_response.content(file) as told:
                    for chunk in told.iter_bytes(CHUNK):
                        kept.write(chunk)

            self._call(fetch)
            kept.seek(0)
            for line in kept:
                with suppress(orjson.JSONDecodeError):  # a line that is none is a request without an answer
                    if isinstance(row := orjson.loads(line), dict):
                        yield row

    def _call(self, function: Callable[[], Any]) -> Any:
        import httpx2
        import openai
        from tenacity import Retrying, retry_if_exception_type

        def once() -> Any:
            try:
                got = function()
                self._reached = True
                return got
            except openai.APIStatusError as error:
                verdict = of_status(error.status_code, error.response.headers, error.response.content)
            except openai.APIConnectionError as error:
                verdict = of_connection(self.teacher.base_url, error.__cause__)
            except httpx2.TransportError as error:  # in the midst of a result
                verdict = of_connection(self.teacher.base_url, error)
            except (openai.OpenAIError, ValueError) as error:
                verdict = Again(f"{self.teacher.base_url} answered with something that cannot be read: {error}")
            raise self._meaning(verdict) if isinstance(verdict, Never) else verdict

        retrying = Retrying(
            retry=retry_if_exception_type(Again),
            wait=self._pause,
            stop=self._enough,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(once)

    def _enough(self, state: Any) -> bool:
        if state.outcome.exception().no_endpoint and not self._reached:
            return given_up(state.attempt_number, state.seconds_since_start, self.teacher.max_attempts)
        return bool(state.attempt_number >= self.teacher.max_attempts)

    def _pause(self, state: Any) -> float:
        asked = state.outcome.exception().wait_s
        doubled = min(self.teacher.backoff_s * 2.0**state.attempt_number, LONGEST_PAUSE_S)
        return doubled if asked is None else asked + 0.03

    def _meaning(self, verdict: Never) -> Again | Never:
        if verdict.status == 404:
            sentence = f"{self.teacher.base_url} has no Batch API, or lost a batch ({verdict}); leave out --batch"
            return Never(sentence, fatal=True, status=404)
        return self.teacher.refusal(verdict, self.key)
