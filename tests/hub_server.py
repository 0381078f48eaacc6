"""A small web server on this machine that answers like the hub, or like any site, and can break off and forget."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "9f25758ec94f82762fb9c09a5c60e908cfb83632"


class Site:
    """What there is to fetch, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """Path of the address -> content"""
        self.gated: set[str] = set()
        """Data sets whose terms were not accepted"""
        self.etags: dict[str, str] = {}
        """Wrong ones, for what is broken on its way"""
        self.asked: list[tuple[str, str, str]] = []
        """(method, path, Range)"""
        self.refused: tuple[int, str] | None = None
        """Status and code of every answer, whatever is asked for"""
        self.elsewhere = ""
        """Another host that holds the files, as the store behind the hub does; the hub leads there"""
        self.tokens: list[str] = []
        """What every request had as its Authorization"""
        self.shifted = 0
        """So many bytes too late begins the part that it sends when it is asked for one"""
        self.break_after: int | None = None
        """The next GET breaks off after so many bytes"""
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        site, path, span = self.site, self.path, self.headers.get("Range", "")
        site.asked.append((self.command, path, span))
        site.tokens.append(self.headers.get("Authorization", ""))
        if site.refused:
            return self._refuse(*site.refused)
        hub = re.match(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if hub and hub[1] in site.gated:
            return self._refuse(401, "GatedRepo")
        if hub and not any(hub[1] in known for known in site.files):
            return self._refuse(401, "RepoNotFound")
        if path not in site.files:
            return self._refuse(404, "EntryNotFound" if hub else "")
        content = site.files[path]
        etag = site.etags.get(path) or hashlib.sha256(content).hexdigest()
        start = int(span[6:-1]) if span and self.headers.get("If-Range", f'"{etag}"') == f'"{etag}"' else 0
        if site.elsewhere and hub:
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{etag}"', "X-Repo-Commit": COMMIT}
            return self._refuse(302, "", {"Location": f"{site.elsewhere}{path}", **linked})
        start += site.shifted if start else 0
        if span and start >= len(content):
            return self._refuse(416, "", {"Content-Range": f"bytes */{len(content)}"})
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-Etag", f'"{etag}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return None
        if site.break_after is not None:
            content, site.break_after = content[: start + site.break_after], None
            self.close_connection = True
        self.wfile.write(content[start:])
        return None

    def _refuse(self, code: int, why: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"X-Error-Code": why, "Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serve() -> Iterator[Site]:
    """A site at 127.0.0.1, as long as the block lasts."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
