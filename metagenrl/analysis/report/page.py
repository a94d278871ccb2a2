"""The page and its pictures on disk: one HTML file that needs nothing else, and PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from metagenrl.analysis.pictures.panels import draw
from metagenrl.analysis.report.contents import Picture, Section
from metagenrl.analysis.report.svg import Drawing, Key, render_panel
from metagenrl.base.files.atomic import write_atomic

PAGE = "report.html"
_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Gallery:
    """A picture as the page has it: panels that flow to the page's width, and one legend."""

    title: str
    caption: str
    drawings: Sequence[Drawing]
    keys: Sequence[Key]


@dataclass(frozen=True)
class Chapter:
    """A section with its pictures drawn."""

    section: Section
    galleries: Sequence[Gallery]


def write_report(title: str, subtitle: str, sections: Sequence[Section], out: Path) -> Path:
    """Write `out/report.html` and a PNG of every picture; the page's path.

    Raises `OSError` where `out` cannot be written.
    """
    sections = [section for section in sections if not section.empty]
    out.mkdir(parents=True, exist_ok=True)
    chapters = [Chapter(section, _galleries(section)) for section in sections]
    for section in sections:
        for picture in section.pictures:
            if picture.block.panels:
                draw(title, [picture.block], out / f"{picture.name}.png")
        for strip in section.strips:
            write_atomic(out / f"{strip.name}.png", [strip.png])
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("metagenrl.analysis.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    page = environment.from_string(source).render(title=title, subtitle=subtitle, chapters=chapters)
    write_atomic(out / PAGE, [page.encode()])
    return out / PAGE


def _galleries(section: Section) -> list[Gallery]:
    return [_gallery(picture) for picture in section.pictures if picture.block.panels]


def _gallery(picture: Picture) -> Gallery:
    drawings: list[Drawing] = []
    keys: dict[str, Key] = {}
    for index, panel in enumerate(picture.block.panels):
        drawing, of_panel = render_panel(panel, f"{picture.name}-{index}")
        drawings.append(drawing)
        for key in of_panel:
            keys.setdefault(key.label, key)
    return Gallery(picture.block.title, picture.caption, drawings, list(keys.values()))
