"""Where data comes from, for manifests and cards: digests of files, licences of parts, versions."""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from data_gen.formats import PACKED
from data_gen.licences import terms_of
from data_gen.records import DataError
from data_gen.registry import inside, load_registry
from data_gen.rows import open_bytes
from data_gen.source_yaml import Licence, Source, SourceFile


def effective_licence(sources: dict[str, Source]) -> dict[str, Any]:
    """What the parts' licences amount to, with the parts named. Not legal advice."""
    licences = {name: source.licence for name, source in sources.items()}
    terms = {name: terms_of(licence.spdx) for name, licence in licences.items()}
    noncommercial = [name for name, licence in licences.items() if licence.noncommercial]
    open_to_all = {name for name, licence in licences.items() if licence.vouched and name not in noncommercial}
    unclear = [name for name, licence in licences.items() if licence.unclear]
    settled = {*noncommercial, *open_to_all, *unclear}
    found = {
        "noncommercial": noncommercial,
        "share_alike": [name for name, said in terms.items() if said.share_alike],
        "unclear": unclear,
        "unrecognised": [name for name, said in terms.items() if not said.commercial and name not in settled],
    }
    said = [f"{what} {', '.join(found[key])}" for key, what in _SUMMED_UP.items() if found[key]]
    spdx = sorted({licence.spdx for licence in licences.values()})
    summary = "; ".join(said) or "no part forbids commercial use"
    return {
        "summary": f"{summary} (parts: {', '.join(spdx)})",
        **found,
        "parts": {name: licence.spdx for name, licence in licences.items()},
    }


_SUMMED_UP = {
    "noncommercial": "non-commercial use only, because of",
    "share_alike": "share alike, because of",
    "unclear": "rights unclear for",
    "unrecognised": "not known to allow commercial use:",
}


def overlaps(sources: dict[str, Source]) -> dict[str, Any]:
    """Which parts of a mix are inside of other parts, and what models are scored on is inside of which."""
    known = load_registry()
    parts = {source.id: name for name, source in sources.items()}
    twice: list[list[str]] = []
    scored: dict[str, list[str]] = {}
    for name, source in sources.items():
        others, tests = inside(source, known)
        twice += [[name, parts[other]] for other in others if other in parts]
        scored |= {name: tests} if tests else {}
    return {"contained": twice, "scored_on": scored}


def overlap_lines(found: dict[str, Any]) -> list[str]:
    """What `overlaps` found, in sentences."""
    return [
        *(f"{part} is inside of {whole}: its rows come up twice" for whole, part in found["contained"]),
        *(
            f"{name} holds what models are scored on ({', '.join(tests)}): do not score on these what is trained on it"
            for name, tests in found["scored_on"].items()
        ),
    ]


def licence_notice(path: Path) -> str:
    """What must be said before somebody trains on a file: the non-commercial parts of its mix; "" when there are none.

    Of a file that no manifest names, its records may say from which sources of the registry they are.
    """
    try:
        manifest = manifest_naming(path)
        parts = [*manifest["licence"]["noncommercial"]] if manifest else _closed_sources(path)
    except (KeyError, TypeError):
        return ""
    if not parts:
        return ""
    return f"{path.name}: non-commercial use only, and so is what is trained on it, because of {', '.join(parts)}"


_SOURCE = re.compile(rb'"source"\s*:\s*"([\w.-]{1,100})"')


def _closed_sources(path: Path) -> list[str]:
    """The non-commercial sources of the registry that a file's records name."""
    found, rest = set[bytes](), b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                found.update(_SOURCE.findall(rest + chunk))
                rest = chunk[-200:]  # a name may lie across the seam
    except OSError:
        return []
    names = {name.decode() for name in found}
    known = load_registry() if names else {}
    return sorted(name for name in names & known.keys() if known[name].licence.noncommercial)


def licence_told(manifest: dict[str, Any]) -> Licence | None:
    """What a manifest says of its rows' licences, as one; None where it says nothing."""
    try:
        said, sources = manifest["licence"], manifest["sources"]
        if "parts" in said:
            spdx, note = " AND ".join(sorted({*said["parts"].values()})), str(said["summary"])
        else:  # one part of a mix
            spdx, note = str(sources[0]["licence"]["spdx"]), str(sources[0]["licence"]["note"])
        return Licence(spdx, note, bool(said["noncommercial"]) or None)
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


def manifest_naming(path: Path) -> dict[str, Any] | None:
    """The manifest beside a file, or the one of its folder that names it as an output, held-out file or part of a mix.

    Of a manifest of parts the one that is in the file, with what its licence alone amounts to.
    """
    beside = path.with_name(path.stem + ".manifest.json")
    for manifest in [beside, *sorted(path.parent.glob("*.manifest.json"))]:
        try:
            found = orjson.loads(manifest.read_bytes())
        except (OSError, ValueError):
            continue
        if not isinstance(found, dict):
            continue
        if manifest == beside or any(_named(found.get(key), "file", path) for key in ("output", "heldout")):
            return found
        sources = found.get("sources")
        for part in sources if isinstance(sources, list) else []:
            if _named(part, "part", path):
                closed = isinstance(part.get("licence"), dict) and part["licence"].get("noncommercial")
                return found | {"sources": [part], "licence": {"noncommercial": [part.get("id")] if closed else []}}
    return None


def _named(said: Any, key: str, path: Path) -> bool:
    return isinstance(said, dict) and said.get(key) == path.name


def versions() -> dict[str, str]:
    """What wrote a manifest."""
    try:
        return {"minituo": version("minituo")}
    except PackageNotFoundError:
        return {"minituo": "unknown"}


def stamp(path: Path) -> dict[str, Any]:
    """A file's name, size and time."""
    info = path.stat()
    return {"file": path.name, "bytes": info.st_size, "mtime_ns": info.st_mtime_ns}


def changed(path: Path) -> str:
    """What to say of a file that was written to meanwhile."""
    return f"{path} was changed while it was read; run it again when nobody writes to it"


def check_digest(file: SourceFile, path: Path) -> str:
    """The sha256 of the file as it lies here; DataError when its content is not what the registry knows it to be."""
    found = file_digest(path)
    # The registry knows the file itself: it may lie here packed, or inside of the archive it comes in.
    inside = bool(file.archive) and path.name == Path(file.archive).name
    packed = inside or path.name in {Path(file.name).name + ending for ending in PACKED}
    content = file.sha256 if inside else found
    if packed and not inside and file.sha256:
        with open_bytes(path) as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    blob = git_blob(path) if file.git_blob and not packed else file.git_blob
    for kind, known, is_ in (("sha256", file.sha256, content), ("git blob", file.git_blob, blob)):
        if known and known.lower() != is_.lower():
            raise DataError(
                f"{path} is not the file it should be: its {kind} is {is_}, expected {known}; download it again "
                "(or, if the new one is meant, write your own sources/*.yaml)"
            )
    return found


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob(path: Path) -> str:
    """Git's hash of a file's content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
