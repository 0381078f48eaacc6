"""The sending side of ChatGPTTeacher: an event loop in a thread of its own, attempts, pauses, the end of a run.

The caller's thread submits requests and takes completions from `done`; nothing here blocks on it, and a Ctrl-C there
never interrupts a connection half way. A request holds one of `concurrency` places while it is being sent and answered,
and gives it up while it pauses: another attempt queues up with the first ones.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import orjson

from teachers.base import Completion, Request, estimated_tokens
from teachers.efforts import Effort, enough, pause
from teachers.http_errors import Again, Never, NoApi, Response, of_status
from teachers.keys import Key, Sent
from teachers.post import Client, way_to
from teachers.replies import Reply, read
from teachers.wire import Wires

if TYPE_CHECKING:
    from teachers.chatgpt import ChatGPTTeacher

TURN_S = 0.0002
RAMP_S = 0.0005
"""The first ones leave one after the other: what leaves together is answered together, and then has to wait its turn"""
PAUSING = 3
"""Requests that may pause, as a multiple of those in flight"""
SENDS = 2
"""So many at a turn of the loop: what has arrived meanwhile is read, and safe, before the next ones leave"""


class Calls:
    """The event loop's side: sends requests, tries again, puts completions into `done`."""

    def __init__(self, teacher: ChatGPTTeacher) -> None:
        from tenacity import AsyncRetrying, retry_if_exception_type

        self.teacher = teacher
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(Again), wait=pause, stop=enough, sleep=self._rest, reraise=True
        )
        self.done: SimpleQueue[Completion | BaseException | None] = SimpleQueue()
        """None: somebody went to pause"""
        self.over = False
        """Nothing more is sent: after a fatal failure, or because the caller said so"""
        self._pausing = 0
        self._over = asyncio.Event()
        self._places = asyncio.Semaphore(teacher.concurrency)
        self._at_gate: deque[asyncio.Future[None]] = deque()
        self._gate_opens = False
        self._submitted: deque[Request] = deque()
        self._told = False
        """The loop is going to look at what was submitted"""
        teacher.ring.renew()
        self._tasks: set[asyncio.Task[Completion]] = set()
        self._way: Wires | Client = way_to(teacher)
        self._left_ways: list[Wires | Client] = []
        # The caller's filters must not keep an answer from being read; Python's own turn of 5 ms is long here.
        self._turn_s = sys.getswitchinterval()
        sys.setswitchinterval(min(TURN_S, self._turn_s))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chatgpt", daemon=True)
        self._thread.start()

    def has_room(self, taken: int) -> bool:
        """Whether another request may be taken while `taken` are not done.

        Once the endpoint has answered as many wait as are in flight, so that the next one leaves when an answer comes
        and not when the caller has dealt with it.
        """
        most = self.teacher.concurrency
        more = most + min(self._pausing, PAUSING * most) if self.teacher.reached_before() else 0
        return not self.over and taken < most + more

    def submit(self, request: Request) -> None:
        """Send it when there is a place; several at once wake the loop once."""
        self._submitted.append(request)
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._start)

    def wind_down(self) -> None:
        """Send nothing more; what is in flight still comes."""
        self.over = True
        self._loop.call_soon_threadsafe(self._over.set)

    def _start(self) -> None:
        self._told = False
        while self._submitted:
            task = self._loop.create_task(self._complete(self._submitted.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._finish)

    def _gate(self) -> asyncio.Future[None]:
        """Done when it is this one's turn to send."""
        turn = self._loop.create_future()
        self._at_gate.append(turn)
        if not self._gate_opens:
            self._gate_opens = True
            self._loop.call_soon(self._open_gate)
        return turn

    def _open_gate(self) -> None:
        for _ in range(min(SENDS, len(self._at_gate))):
            if not (turn := self._at_gate.popleft()).done():
                turn.set_result(None)
        self._gate_opens = bool(self._at_gate)
        if self._gate_opens and self.teacher.reached_before():
            self._loop.call_soon(self._open_gate)
        elif self._gate_opens:
            self._loop.call_later(RAMP_S, self._open_gate)

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
        sys.setswitchinterval(self._turn_s)

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for way in (self._way, *self._left_ways):
            await way.close()

    async def _complete(self, request: Request) -> Completion:
        """One request to its end: an answer, or a completion that carries the error."""
        effort = Effort(time.monotonic())
        try:
            try:
                return await self._attempt(request, effort, self.teacher)
            except Again as error:  # most requests never need what follows
                effort.first = error
                return await self._retrying.copy()(self._attempt, request, effort, self.teacher)
        except (Again, Never) as error:
            text = self.teacher.scrub(str(error))
            fatal = error.fatal or (error.no_endpoint and not self.teacher.reached_before())
            if fatal:
                self.over = True
                self._over.set()
            seconds = round(time.monotonic() - effort.start, 3)
            return Completion(request.key, "", "error", text, fatal, "", effort.usage, effort.sent, seconds)

    async def _attempt(self, request: Request, effort: Effort, teacher: ChatGPTTeacher) -> Completion:
        """One sending, in one of the places, with the key whose turn it is."""
        if effort.first is not None:  # the first one was made already
            error, effort.first = effort.first, None
            raise error
        async with self._places:
            effort.sent += 1
            tokens = estimated_tokens(request) + request.max_tokens if teacher.ring.paced else 0
            way = self._way
            effort.direct = isinstance(way, Wires)
            line = await way.line()  # opened before its turn: from there on nothing may hold it up
            async with teacher.ring.turn(tokens, self._sleep) as key:
                await self._gate()
                if self._over.is_set():
                    way.leave(line)
                    raise Never("not sent: the run was stopped")
                if not line.open:
                    line = await way.line()
                take = partial(self._take, request, effort, key, key.sending())
                answer = way.send(line, orjson.dumps(teacher.body(request)), key, take)
            try:
                return await answer
            except NoApi as other:
                raise (Again(str(other)) if teacher.reached_before() else other) from None

    def _take(self, request: Request, effort: Effort, key: Key, sent: Sent | None, response: Response) -> Completion:
        """What came, read, and safe when this returns; raises Again or Never for everything that is no good answer."""
        if effort.direct and 300 <= response.status_code < 400:  # the client knows how to follow
            if isinstance(self._way, Wires):
                self._left_ways.append(self._way)
                self._way = Client(self.teacher)
            raise Again(f"HTTP {response.status_code}: moved", wait_s=0.0, free=True)
        reply, teacher = self._read(response, key, again=effort.put_off_s > 0), self.teacher
        why = effort.objection(reply, request, teacher.wants_json)
        if sent is not None and (used := reply.usage["prompt_tokens"] + reply.usage["completion_tokens"]):
            key.used(sent, used)  # a server that does not count leaves it at what was taken
        if why and effort.failed + 1 < teacher.max_attempts:
            raise Again(why)
        seconds = round(time.monotonic() - effort.start, 3)
        completion = Completion(
            request.key, reply.text, reply.reason, None, False, reply.model, effort.usage, effort.sent, seconds,
            reply.logprobs,
        )  # fmt: skip
        if teacher.on_arrival is not None:
            teacher.on_arrival(completion)
        return completion

    def _read(self, response: Response, key: Key, again: bool) -> Reply:
        teacher, status = self.teacher, response.status_code
        if status >= 400:
            verdict = of_status(status, response.headers, response.content)
            if isinstance(verdict, Never):
                raise teacher.refusal(verdict, key)
            if verdict.limited:
                key.limited(verdict.wait_s, again)
            raise verdict
        answer = read(response.content, response.headers.get("content-type", ""), teacher.base_url, teacher.name)
        teacher.heard()
        key.answered()
        return answer

    async def _rest(self, seconds: float) -> None:
        """The pause between two attempts; another request may take the place meanwhile."""
        self._pausing += 1
        self.done.put(None)
        await self._sleep(seconds)
        self._pausing -= 1

    async def _sleep(self, seconds: float) -> bool:
        """Sleep that the end of the run cuts short; True when it did."""
        if seconds <= 0:
            return self._over.is_set()
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return False
        return True
