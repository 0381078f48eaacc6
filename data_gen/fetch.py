"""Fetching the files of a source: from the Hugging Face hub at the revision its YAML pins, or from a web address.

An interrupted download goes on where it stopped; a file counts only when its bytes are those that the YAML, or the hub
itself, says they should be. What no program can fetch (a shared drive, a page with terms to accept) is told in words.
HF_ENDPOINT names a mirror of the hub.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.progress import Progress
from data_gen.provenance import check_digest, file_digest, git_blob
from data_gen.records import DataError
from data_gen.registry import data_roots, how_to_get, locate
from data_gen.source_yaml import Source, SourceFile

MEGABYTE = 1 << 20
TRIES = 4
TIMEOUT_S = 60


@dataclass
class Fetched:
    """What became of a file."""

    file: SourceFile
    path: Path | None = None
    """Where it lies; None: it has to be fetched by hand"""
    note: str = ""
    """"here already", or how its bytes were checked; how to get it, when that is up to the user"""


def fetch(source: Source, data_dir: str | Path | None = None) -> list[Fetched]:
    """Fetch what is missing of a source; DataError when a download fails or is not what it should be."""
    done: dict[Path, str] = {}
    results = []
    for file in source.files:
        try:
            path = locate(source, file, data_dir)
        except DataError:
            if file.path:
                raise
            path = data_roots(data_dir)[0] / source.id / (file.archive or file.name)
            address = source.address(file)
            if not address:
                results.append(Fetched(file, None, how_to_get(source, file)))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            done[path] = _from_hub(source, file, path) if not file.url else _from_web(address, file, path)
        if path not in done:
            check_digest(file, path)
            done[path] = "here already"
        results.append(Fetched(file, path, done[path]))
    return results


class _Bar:
    """One progress line in megabytes, in the form that huggingface_hub expects of a bar."""

    def __init__(self, *, desc: str = "", total: int | None = None, initial: int = 0, **_: Any) -> None:
        self.bytes = initial
        megabytes = total // MEGABYTE if total else None
        self.bar = Progress(f"fetch {desc}", total=megabytes, unit="MB", done=initial // MEGABYTE)

    def __enter__(self) -> _Bar:
        self.bar.__enter__()
        return self

    def update(self, n: int | float | None = 1) -> None:
        self.bytes += int(n or 0)
        self.bar.advance(self.bytes // MEGABYTE - self.bar.done)

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def __getattr__(self, name: str) -> Any:  # set_description, refresh, close ..: nothing to do
        return lambda *_, **__: None


def _from_hub(source: Source, file: SourceFile, path: Path) -> str:
    """Download a file of a hub data set; how its bytes were checked."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError:
        raise DataError("fetching from the hub needs huggingface_hub: pip install 'minituo[hub]'") from None
    name = file.archive or file.name
    page = f"https://huggingface.co/datasets/{source.hub}"
    try:
        url = hub.hf_hub_url(source.hub, name, repo_type="dataset", revision=source.revision or None)
        known = hub.get_hf_file_metadata(url)
        _hub_bytes(url, known, path)
    except errors.GatedRepoError:
        raise DataError(
            f"{source.hub} is open to those who accepted its terms: do that on {page}, then log in ('hf auth login')"
        ) from None
    except errors.RepositoryNotFoundError:
        raise DataError(f"the hub has no data set {source.hub} that you may see ({page})") from None
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError):
        raise DataError(f"{source.hub} has no {name} at revision {source.revision or 'main'} ({page})") from None
    except errors.OfflineModeIsEnabled:
        raise DataError(f"HF_HUB_OFFLINE is set, so {page} is not asked; unset it to fetch {name}") from None
    except OSError as error:  # HfHubHTTPError is one
        if _is_disk(error):
            raise
        if getattr(getattr(error, "response", None), "status_code", 0) in (401, 403):
            raise DataError(
                f"the hub refuses {source.hub} ({_first_line(error)}): look whether {page} is open to you, "
                "and log in with a token of yours ('hf auth login')"
            ) from None
        raise DataError(_unreachable(page, error)) from None
    except Exception as error:  # what the HTTP library raises shares no base with the others
        if not type(error).__module__.startswith("http"):
            raise
        raise DataError(_unreachable(page, error)) from None
    checked = _checked(file, path, (known.etag or "").strip('"'))
    pinned = "" if source.revision else f"; not pinned: the hub's main was {known.commit_hash}"
    return checked + pinned


def _hub_bytes(url: str, known: Any, path: Path) -> None:
    """The file's bytes, going on with what an earlier run left of the same file (hf_hub_download begins anew)."""
    from urllib.parse import urlsplit

    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part, headers, location = path.with_name(path.name + ".part"), build_hf_headers(), known.location or url
    headers["accept-encoding"] = "identity"  # what is kept and counted are the file's own bytes
    if urlsplit(location).netloc != urlsplit(url).netloc:  # the store behind the hub has its own, in the address
        headers.pop("authorization", None)
    tag = _tag(part)
    same = part.is_file() and tag.is_file() and tag.read_text(encoding="utf-8") == known.etag
    if not same or (known.size is not None and part.stat().st_size > known.size):
        part.unlink(missing_ok=True)
        tag.write_text(known.etag or "", encoding="utf-8")
    start = part.stat().st_size if part.is_file() else 0
    _room(path, known.size and known.size - start)
    with part.open("ab") as out:
        http_get(
            location,
            out,
            resume_size=start,
            headers=headers,
            expected_size=known.size,
            displayed_filename=path.name,
            tqdm_class=_Bar,
        )
    _moved(part, path)


def _is_disk(error: OSError) -> bool:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return full or (error.errno is not None and error.filename is not None)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")[:200] or type(error).__name__


def _unreachable(where: str, error: BaseException) -> str:
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return f"could not fetch from {where}: {why}; run it again to go on (HF_ENDPOINT names a mirror of the hub)"


def _checked(file: SourceFile, path: Path, etag: str = "") -> str:
    """How the bytes were checked; DataError, and the file is gone, when they are others than they should be."""
    try:
        found = file_digest(path) if file.archive else check_digest(file, path)
        blob = git_blob(path) if len(etag) == 40 else ""
        if (len(etag) == 64 and found != etag) or (blob and blob != etag):
            raise DataError(f"{path} is not what the hub says: its digest is {blob or found}, expected {etag}")
    except DataError:
        path.unlink(missing_ok=True)
        raise
    sure = file.sha256 or file.git_blob
    return f"sha256 {found}" + (", as known" if sure else ", as the hub says" if len(etag) in (40, 64) else "")


def _room(path: Path, size: int | None) -> None:
    free = shutil.disk_usage(path.parent).free
    if size and size > free:
        raise DataError(f"{path} needs {size:,} bytes, {free:,} are free; choose another disk with --data-dir")


def _from_web(url: str, file: SourceFile, path: Path) -> str:
    """Download an address to `<name>.part`, going on with what is there of the same file, then check and rename."""
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{file.name}: {url} is no web address")
    part = path.with_name(path.name + ".part")
    for attempt in range(TRIES):
        try:
            _go_on(url, part, path.name)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == TRIES - 1:
                raise DataError(f"could not fetch {url}: the server says {error.code} {error.reason}") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if attempt == TRIES - 1:
                raise DataError(f"could not fetch {url}: {error}; run it again to go on") from None
    return _checked(file, _moved(part, path))


def _moved(part: Path, path: Path) -> Path:
    _tag(part).unlink(missing_ok=True)
    os.replace(part, path)
    return path


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _go_on(url: str, part: Path, name: str) -> None:
    """One attempt: ask for the rest of the file if the server still has the same one, else for all of it."""
    tag = _tag(part).read_text(encoding="utf-8") if _tag(part).is_file() and part.is_file() else ""
    start = part.stat().st_size if tag else 0
    headers = {"User-Agent": "minituo", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":  # it was whole already
            return
        part.unlink()
        raise ConnectionError("the file on the server has changed") from None
    with response:
        start = start if response.status == 206 else 0
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ConnectionError("the server sends another part of the file than was asked for")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        _room(part, total and total - start)
        new = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if new and not new.startswith("W/"):
            _tag(part).write_text(new, encoding="utf-8")
        with part.open("ab" if start else "wb") as out, _Bar(desc=name, total=total, initial=start) as bar:
            while chunk := response.read(MEGABYTE):
                out.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"the connection broke off after {part.stat().st_size:,} of {total:,} bytes")
