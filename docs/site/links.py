"""Links of the repository's pages, and where the site has what they lead to."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs/"
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#]*)(?P<anchor>#[^)\s]*)?(?=\))")
_CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_ELSEWHERE = re.compile(r"[a-z]+:", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A link within the repository."""

    path: str
    """Of the target, from the repository's root."""
    anchor: str
    """With its `#`; empty without one."""


def links_of(page: str, text: str) -> Iterator[Link]:
    """Links from `page` (its path from the root) to files and headings of the repository."""
    for match in _LINK.finditer(_CODE.sub(" ", text)):
        if not _ELSEWHERE.match(match["path"]):
            yield Link(_target(page, match["path"]), match["anchor"] or "")


def rewrite(page: str, text: str, address: Callable[[str], str]) -> str:
    """`text` with each link to a file of the repository leading to `address` of that file."""

    def changed(match: re.Match[str]) -> str:
        path = match["path"]
        if not path or _ELSEWHERE.match(path) or not (ROOT / _target(page, path)).is_file():
            return match.group()
        return address(_target(page, path)) + (match["anchor"] or "")

    return _LINK.sub(changed, text)


def in_site(path: str) -> str:
    """Where the site has a file: what lies in docs/ is its root, the rest keeps its folder."""
    return path.removeprefix(DOCS)


def in_repository(uri: str) -> str:
    """The inverse of `in_site`, for a page that there is."""
    return uri if (ROOT / uri).is_file() and not (ROOT / DOCS / uri).is_file() else DOCS + uri


def _target(page: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
