"""The way around: POSTs through the `openai` client and its aiohttp transport, where there is a proxy or a redirect.

The client is made as usual; it knows the headers (organisation, project, user agent), the address and the proxies. Only
what its `post` does anew for every request, building the same address and headers through several layers of models, is
done once here. Everything else goes over connections of our own (teachers.wire), whose methods these are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from teachers.base import Completion
from teachers.efforts import CONNECT_S
from teachers.http_errors import Again, Response, no_http, of_connection
from teachers.wire import Take, Wires

if TYPE_CHECKING:
    from teachers.chatgpt import ChatGPTTeacher
    from teachers.keys import Key

NO_HTTP = {"BadStatusLine", "BadHttpMessage"}
"""aiohttp's names for a reply that is none"""


def way_to(teacher: ChatGPTTeacher) -> Wires | Client:
    """Straight to the endpoint, or through the client when the environment names a proxy that may be for it."""
    proxied = not teacher.on_this_machine and getproxies().keys() & {teacher.base_url.split(":")[0], "all"}
    return Client(teacher) if proxied else Wires(teacher)


class Client:
    """The methods of Wires; its connections are the client's business."""

    open = True

    def __init__(self, teacher: ChatGPTTeacher) -> None:
        import httpx2
        from aiohttp import ClientError
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self._request, self._url_said = httpx2.Request, teacher.base_url
        self._errors = (httpx2.HTTPError, ClientError, OSError)
        self._timeout_s, most = teacher.timeout_s, teacher.concurrency
        limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most)
        # The whole answer has `timeout_s`; a limit on each read as well would only cost time.
        # "pool" is the transport's word for all of connecting: a proxy's answer and the handshake behind it, too.
        connect_s = min(teacher.timeout_s, CONNECT_S)
        timeout = httpx2.Timeout(None, connect=connect_s, pool=connect_s)
        self._http = DefaultAioHttpClient(
            limits=limits, timeout=timeout, follow_redirects=True, trust_env=not teacher.on_this_machine
        )
        client = AsyncOpenAI(api_key="none-needed", http_client=self._http, **teacher.address.for_client())
        told = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        self._headers = httpx2.Headers({**told, "Content-Type": "application/json", "Accept": "application/json"})
        self._url = httpx2.URL(teacher.address.whole("/chat/completions"))
        self._extensions = {"timeout": timeout.as_dict()}
        self._of_key: dict[str, Any] = {}

    async def line(self) -> Client:
        """The client finds a connection when it sends."""
        return self

    def leave(self, line: Any) -> None:
        """There is nothing to give back."""

    def send(self, line: Any, content: bytes, key: Key, take: Take) -> Coroutine[Any, Any, Completion]:
        """What `take` makes of the reply, once it is awaited."""
        headers = self._of_key.get(key.secret)
        if headers is None:
            headers = self._of_key[key.secret] = self._headers.copy()
            headers["Authorization"] = f"Bearer {key.secret or 'none-needed'}"
        return self._send(
            self._request("POST", self._url, headers=headers, content=content, extensions=self._extensions), take
        )

    async def _send(self, request: Any, take: Take) -> Completion:
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._http.send(request)
        except TimeoutError:
            raise Again(f"no answer within {self._timeout_s:g} s (--timeout gives it more)") from None
        except self._errors as error:
            if type(error.__cause__).__name__ in NO_HTTP:
                raise no_http(self._url_said) from None
            raise of_connection(self._url_said, error) from None
        return take(Response(reply.status_code, reply.headers, reply.content))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
