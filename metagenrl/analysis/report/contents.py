"""What a report is made of, before it is a page: sections of facts, tables and pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metagenrl.analysis.pictures.panels import Block

Mark = Literal["good", "warning", "neutral"]


@dataclass(frozen=True)
class Fact:
    """One line that says how things are; its mark is also a sign and a word on the page."""

    text: str
    mark: Mark = "neutral"


@dataclass(frozen=True)
class Facts:
    """Facts about one thing, which `title` names."""

    title: str
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Cell:
    """A table's entry: a text, and a second line in small print."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names its rows, the others are numbers where `numeric`."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: bool = True


@dataclass(frozen=True)
class Picture:
    """Panels under one title, on the page and as `name`.png."""

    name: str
    block: Block
    caption: str = ""


@dataclass(frozen=True)
class Strip:
    """Drawn pictures of an episode side by side, on the page and as `name`.png."""

    name: str
    png: bytes
    caption: str

    @property
    def address(self) -> str:
        """The picture as an address that needs no file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Section:
    """A chapter of the page; empty ones are left out."""

    name: str  # its anchor
    title: str
    text: str = ""
    facts: Sequence[Facts] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    strips: Sequence[Strip] = ()
    listings: Sequence[tuple[str, str]] = ()  # (title, text), folded away

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        drawn = any(picture.block.panels for picture in self.pictures)
        return not (self.facts or self.tables or self.listings or self.strips or drawn)


def texts(*words: str) -> list[Cell]:
    """A row of plain cells."""
    return [Cell(word) for word in words]
