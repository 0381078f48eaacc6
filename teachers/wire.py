"""HTTP as far as an endpoint needs it: one POST after the other, over connections that stay open.

An answer is handed over in the very call that reads its last byte, before anything else has its turn: whoever wants to
write it down has done so before the next request leaves. That, and the cost, is what it is for: a general client wakes
several tasks on the way from the socket to the answer. What comes is parsed by llhttp (`httptools`); proxies and
redirects are left to the client (teachers.post).
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools

from teachers.efforts import CONNECT_S
from teachers.http_errors import Again, Never, Response, broken, no_http, unreachable

if TYPE_CHECKING:
    from teachers.base import Completion
    from teachers.chatgpt import ChatGPTTeacher
    from teachers.keys import Key

Take = Callable[[Response], "Completion"]
"""Reads a reply, and keeps it; raises Again or Never for everything that is no good answer"""
SECOND_ADDRESS_S = 0.25
"""A host with several addresses is tried at the next one so soon"""
MOST_HEAD = 1 << 16
UNZIPS = 47
"""zlib's name for: gzip or deflate, whichever it is"""


class Line(asyncio.Protocol):
    """One connection. `ask` sends a request; the future that it gives is what `take` made of the reply."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.open = False
        self._answer: asyncio.Future[Completion] | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head = 0
        """Bytes that came before the end of the head; -1 after it"""
        self._whole = self._stays = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    def ask(self, content: bytes, take: Take) -> asyncio.Future[Completion]:
        """Send a whole request, head and body."""
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._answer, self._take = answer, take
        self._reset()
        self._transport.write(content)
        return answer

    def give_up(self, error: Again | Never) -> None:
        """No answer is waited for any more."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()

    def close(self) -> None:
        """Close at once."""
        self.open = False
        self._transport.abort()

    @property
    def waiting(self) -> bool:
        """There is an answer to come."""
        return self._answer is not None

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody has asked, or nobody waits for it any more
            self.close()
            return
        if self._head >= 0:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
            if self._head > MOST_HEAD:
                raise ValueError("a head without an end")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as error:
            if not self._whole:  # what comes after a whole reply is no part of it
                other = self._head >= 0 and not isinstance(error, ValueError)
                self.give_up(no_http(self._url) if other else broken(self._url, error))
                return
            self._stays = False
        if self._whole:
            self._hand_over()

    def eof_received(self) -> None:
        endless = {"content-length", "transfer-encoding"}.isdisjoint(self._headers)
        if self._head < 0 and endless and not self._whole:  # that was the sign for its end
            self._stays = False
            self._hand_over()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            ours = exc is not None and not isinstance(exc, OSError)  # a mistake of ours is not to look like theirs
            self._answer.set_exception(exc if exc is not None and ours else broken(self._url, exc))

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._whole:  # a second reply to one question
            self._stays = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._whole and self._head >= 0:  # trailers count for nothing
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if not self._whole and self._parser.get_status_code() >= 200:
            self._head, self._status = -1, self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self._whole:
            self._body += body

    def on_message_complete(self) -> None:
        if self._head >= 0:  # a word in between, 1xx
            self._headers.clear()
        elif not self._whole:
            self._whole, self._stays = True, self._parser.should_keep_alive()

    def _hand_over(self) -> None:
        """The reply is whole: what becomes of it is decided here and now."""
        answer, content = self._answer, bytes(self._body)
        assert answer is not None
        try:
            if self._headers.get("content-encoding", "identity") != "identity":
                content = zlib.decompress(content, UNZIPS)
            answer.set_result(self._take(Response(self._status, self._headers, content)))
        except zlib.error as error:
            answer.set_exception(broken(self._url, error))
        except (Again, Never, OSError) as error:  # OSError: it could not be written down
            answer.set_exception(error)
        if self._stays:
            self._answer = None
        else:
            self.close()


class Wires:
    """Connections to one endpoint: `line = await wires.line(); await wires.send(line, content, key, take)`."""

    def __init__(self, teacher: ChatGPTTeacher) -> None:
        self._url, self._timeout_s = teacher.base_url, teacher.timeout_s
        parts = urlsplit(teacher.address.whole("/chat/completions"))
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._how: dict[str, Any] = {}
        if parts.scheme == "https":
            from httpx2 import create_ssl_context

            self._how["ssl"] = create_ssl_context()
        if self._host.strip("0123456789."):  # a name
            self._how["happy_eyeballs_delay"] = SECOND_ADDRESS_S
        told = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "minituo",
            "OpenAI-Organization": os.environ.get("OPENAI_ORG_ID", ""),
            "OpenAI-Project": os.environ.get("OPENAI_PROJECT_ID", ""),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._head = f"POST {path} HTTP/1.1\r\n{lines}Authorization: Bearer "
        self._heads: dict[str, bytes] = {}
        self._free: list[Line] = []
        self._lines: set[Line] = set()

    async def line(self) -> Line:
        """A connection that is open: one that has nothing to do, or a new one."""
        while self._free:
            if (line := self._free.pop()).open:
                return line
            self._lines.discard(line)
        try:
            async with asyncio.timeout(min(self._timeout_s, CONNECT_S)):
                loop = asyncio.get_running_loop()
                _, line = await loop.create_connection(lambda: Line(self._url), self._host, self._port, **self._how)
        except (OSError, TimeoutError) as error:
            raise unreachable(self._url, error) from None
        self._lines.add(line)
        return line

    def leave(self, line: Any) -> None:
        """A line that was not used after all."""
        self._free.append(line)

    def send(self, line: Any, content: bytes, key: Key, take: Take) -> asyncio.Future[Completion]:
        """Write the request now; what `take` makes of the reply comes later."""
        head = self._heads.get(key.secret)
        if head is None:
            head = f"{self._head}{key.secret or 'none-needed'}\r\nContent-Length: ".encode()
            self._heads[key.secret] = head
        answer = line.ask(b"%b%d\r\n\r\n%b" % (head, len(content), content), take)
        late = Again(f"no answer within {self._timeout_s:g} s (--timeout gives it more)")
        alarm = asyncio.get_running_loop().call_later(self._timeout_s, line.give_up, late)
        answer.add_done_callback(partial(self._done, line, alarm))
        return answer

    def _done(self, line: Line, alarm: asyncio.TimerHandle, answer: asyncio.Future[Completion]) -> None:
        alarm.cancel()
        if not answer.cancelled():
            answer.exception()  # whoever waited may have been stopped meanwhile: asyncio would tell of that
        if line.open and not line.waiting:
            self._free.append(line)
        else:
            line.close()
            self._lines.discard(line)

    async def close(self) -> None:
        """Close all connections."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        await asyncio.sleep(0)
