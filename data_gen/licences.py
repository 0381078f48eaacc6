"""What the name of a licence says, however it is spelt: whether it forbids commercial use, is share-alike, allows.

A name is an SPDX expression, a hub's tag (`cc-by-nc-4.0`) or how people write it (`CC BY NC 4.0`, `research only`);
case, spaces, underscores, hyphens and versions do not count. Of an expression every part counts, with OR, too: the
stricter one. A name that is not known allows nothing. Not legal advice.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

ALLOWING = {
    *("apache", "mit", "bsd", "isc", "zlib", "unlicense", "wtfpl", "afl", "artistic", "boost", "postgresql", "ofl"),
    *("cczero", "cc-zero", "cc-by", "public-domain", "pddl", "odc-by", "cdla-permissive", "mulan-psl", "mulanpsl"),
}
SHARE_ALIKE = {
    *("cc-by-sa", "gpl", "lgpl", "agpl", "gfdl", "fdl", "mpl", "epl", "eupl", "osl", "odbl", "odc-odbl"),
    "cdla-sharing",
}
"""These allow commercial use, too, under the same terms"""
NOT_SAID = {"unclear", "unknown", "other", "none", "unspecified", "unstated", "noassertion", "na", "various", "mixed"}
FORBIDDING = {"nc", "noncommercial", "research", "academic", "educational", "非商业", "非商用", "研究", "学术"}
NOISE = {"the", "gnu", "licence", "license", "licenses", "licensed", "version", "v", "clause", "only", "international"}


class Terms(NamedTuple):
    """What a licence's name tells."""

    noncommercial: bool
    share_alike: bool
    unclear: bool
    """It says that nothing is known"""
    commercial: bool
    """It is known to allow commercial use"""


def terms_of(name: str) -> Terms:
    """What a licence's name, or an expression of several, tells."""
    parts = [words for part in _parts(name) if (words := _words(part))]
    forbidding = any(_forbids(words) for words in parts)
    names = ["-".join(words) for words in parts]
    alike = any(
        name in SHARE_ALIKE or "gpl" in name or {"sa", "sharealike"} & {*words} or "share-alike" in name
        for name, words in zip(names, parts, strict=True)
    )
    unclear = not parts or any(NOT_SAID & {*words} for words in parts)
    known = bool(parts) and all(name in ALLOWING or name in SHARE_ALIKE for name in names)
    return Terms(forbidding, alike, unclear, known and not forbidding)


def permitted(name: str, among: Collection[str]) -> bool:
    """Whether all parts of a licence's name are `among` the names of licences, spelt as they may be."""
    wanted = {plain(part) for one in among for part in [one, *_parts(one)]}
    parts = _parts(name)
    return plain(name) in wanted or (bool(parts) and all(plain(part) in wanted for part in parts))


def plain(name: str) -> str:
    """A licence's name in one spelling, with its version."""
    return "-".join(re.findall(r"[^\W_]+(?:\.\d+)*", name.casefold()))


def _parts(name: str) -> list[str]:
    """The licences of an expression. WITH an exception restricts nothing; other clauses stay in the name."""
    text = re.sub(r"[\s_-]+or[\s_-]+(later|newer)\b|\+", "", name.casefold())
    text = re.sub(r"\s+with\s+\S*exception\S*", "", text.replace("(", " ").replace(")", " "))
    return [part for part in re.split(r"\s+(?:and|or)\s+|[;/]", text) if part.strip()]


def _words(part: str) -> list[str]:
    """Its words without versions: `GPLv3` and `gpl-3.0-only` are `gpl`; CC0 is `cczero`."""
    text = re.sub(r"\bcc[\s_-]*0\b", "cczero", part.replace("_", " "))
    words = re.findall(r"[a-z]+|[^\W\d_a-z]+", text.replace("gplv", "gpl"))
    return [word for word in words if word not in NOISE]


def _forbids(words: list[str]) -> bool:
    said = {*words}
    plainly = FORBIDDING & said or any(mark in word for word in words for mark in FORBIDDING if not mark.isascii())
    denied = "commercial" in said and {"non", "no", "not", "without"} & said
    return bool(plainly or denied)
