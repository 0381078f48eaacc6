"""The sending side of ChatGPTTeacher: an event loop in a thread of its own, attempts, pauses, the end of a run.

The caller's thread submits requests and takes completions from `done`; nothing here blocks on it, and a Ctrl-C there
never interrupts a connection half way.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from teachers.base import Completion, Request
from teachers.http_errors import Again, Never, of_connection, of_status

if TYPE_CHECKING:
    from teachers.chatgpt import ChatGPTTeacher

LONGEST_PAUSE_S = 30.0
PATIENCE_S = 600.0
"""How long a rate limit may put one request off, all its 429 together"""
SPREAD_S = 2.0
"""Over how long those who were told the same Retry-After spread out"""
EMPTY_ANSWERS = 3
"""So often an empty answer is taken for a fault; then it is what the model has to say"""


@dataclass(slots=True)
class _Effort:
    """What one request has cost so far."""

    sent: int = 0
    failed: int = 0
    put_off_s: float = 0.0
    empty: int = 0
    usage: dict[str, int] = field(default_factory=lambda: {"prompt_tokens": 0, "completion_tokens": 0})


class Calls:
    """The event loop's side: sends requests, tries again, puts completions into `done`."""

    def __init__(self, teacher: ChatGPTTeacher) -> None:
        self.teacher = teacher
        self.done: SimpleQueue[Completion | BaseException] = SimpleQueue()
        self.over = threading.Event()
        """Set by a fatal failure: nothing more is sent"""
        self._over = asyncio.Event()
        self._next_slot = 0.0
        self._tasks: set[asyncio.Task[Completion]] = set()
        self._client = teacher.client()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chatgpt", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        self._loop.call_soon_threadsafe(self._start, request)

    def _start(self, request: Request) -> None:
        task = self._loop.create_task(self._complete(request))
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Completion]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self.done.put(task.exception() or task.result())

    def close(self) -> None:
        """Cancel what is in flight, close the connections, end the thread."""
        ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        try:
            ending.result(timeout=5.0)
        except TimeoutError:
            ending.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _complete(self, request: Request) -> Completion:
        """One request to its end: an answer, or a completion that carries the error."""
        from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

        effort, start = _Effort(), time.monotonic()

        def pause(state: RetryCallState) -> float:
            return self._pause(effort, _failure(state))

        def enough(state: RetryCallState) -> bool:
            return self._enough(effort, _failure(state))

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Again), wait=pause, stop=enough, sleep=self._sleep, reraise=True
        )
        try:
            completion: Completion = await retrying(self._attempt, request, effort)
        except (Again, Never) as error:
            text = self.teacher.scrub(str(error))
            fatal = error.fatal or (error.unreachable and not self.teacher.reached_before())
            if fatal:
                self.over.set()
                self._over.set()
            completion = Completion(request.key, error=text, finish_reason="error", fatal=fatal, usage=effort.usage)
        completion.attempts, completion.seconds = effort.sent, round(time.monotonic() - start, 3)
        return completion

    async def _attempt(self, request: Request, effort: _Effort) -> Completion:
        import httpx2
        import openai

        teacher = self.teacher
        await self._wait_for_slot()
        if self._over.is_set():
            raise Never("not sent: the run was stopped by another request's failure")
        effort.sent += 1
        try:
            async with asyncio.timeout(teacher.timeout_s):
                reply = await self._client.post(
                    "/chat/completions", cast_to=httpx2.Response, body=teacher.body(request)
                )
        except TimeoutError:
            raise Again(f"no answer within {teacher.timeout_s:g} s (--timeout gives it more)") from None
        except openai.APIStatusError as error:
            verdict = of_status(error.status_code, error.response.headers, error.response.content)
            raise (teacher.refusal(verdict) if isinstance(verdict, Never) else verdict) from None
        except openai.APIConnectionError as error:
            raise of_connection(teacher.base_url, error.__cause__) from None
        text, reason, model, usage = teacher.read(reply.content, reply.headers.get("content-type", ""))
        for name, count in usage.items():
            effort.usage[name] += count
        effort.empty += not text.strip()
        if not text.strip() and effort.empty < EMPTY_ANSWERS and effort.failed + 1 < teacher.max_attempts:
            raise Again("the answer was empty")
        return Completion(request.key, text, reason, model=model, usage=effort.usage)

    async def _wait_for_slot(self) -> None:
        if self.teacher.slot_s:
            now = time.monotonic()
            at = max(now, self._next_slot)
            self._next_slot = at + self.teacher.slot_s
            await self._sleep(at - now)

    def _pause(self, effort: _Effort, error: Again) -> float:
        doubled = min(self.teacher.backoff_s * 2.0 ** min(effort.sent - 1, 10), LONGEST_PAUSE_S)
        pause = doubled * random.uniform(0.5, 1.0)
        if error.wait_s is not None:  # never early; those who were told the same moment spread out more each time
            pause = error.wait_s + 0.03 + random.uniform(0.0, min(doubled, SPREAD_S) if effort.sent > 1 else 0.1)
        effort.put_off_s += pause if error.limited else 0.0
        return pause

    def _enough(self, effort: _Effort, error: Again) -> bool:
        """Rate limits are waited for; every other failure counts. A host that never answered is given up early."""
        if error.limited:
            return effort.put_off_s >= PATIENCE_S or (error.wait_s or 0.0) > PATIENCE_S
        effort.failed += 1
        never = error.unreachable and not self.teacher.reached_before()
        return effort.failed >= (min(3, self.teacher.max_attempts) if never else self.teacher.max_attempts)

    async def _sleep(self, seconds: float) -> None:
        """Sleep that a fatal failure elsewhere ends."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self._over.wait(), seconds)
            except TimeoutError:
                return


def _failure(state: Any) -> Again:
    return state.outcome.exception()
