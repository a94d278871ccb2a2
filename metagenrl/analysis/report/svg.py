"""Panels as SVG that follows the page: its ink, light or dark, and its width.

Matplotlib writes fixed colours. The ones drawn here stand for roles, and become the page's CSS
variables (`report.html.j2` defines them for both schemes).
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from metagenrl.analysis.pictures.panels import COLORS, NEUTRAL, STYLE, TICKS, Panel
from metagenrl.analysis.pictures.style import only

_SIZE = (4.4, 2.9)  # inches
_INK, _GRID = "#010101", "#010103"
_ROLES = {_INK: "ink", "#000000": "ink", _GRID: "grid", NEUTRAL: "muted"} | {
    color: f"c{index}" for index, color in enumerate(COLORS)
}
_THEME: Any = {
    **STYLE,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
    "grid.color": _GRID,
    "svg.fonttype": "none",  # text stays text
}
_NOT_DRAWN = re.compile(r"<(metadata|style)[ >].*?</\1>", re.DOTALL)  # the style is everybody's
_VIEW_BOX = re.compile(r'viewBox="[^"]*"')
_PATH = re.compile(r' d="[^"]*"')
_DECIMALS = re.compile(r"(\.\d)\d+")  # a tenth of a point is finer than any screen
_DASHES = {"-": "", "--": "6 3", "-.": "7 3 2 3", ":": "2 3"}


@dataclass(frozen=True)
class Key:
    """A legend's entry."""

    label: str
    color: str  # CSS
    dashes: str  # SVG's stroke-dasharray


@dataclass(frozen=True)
class Drawing:
    """One panel on the page."""

    svg: str
    title: str  # for readers who do not see it


def render_panel(panel: Panel, name: str) -> tuple[Drawing, list[Key]]:
    """The panel as an `<svg>` element, and the entries that it has for a legend.

    `name` tells the identifiers of a page's drawings apart.
    """
    salt = hashlib.sha256(name.encode()).hexdigest()[:12]
    with only({**_THEME, "svg.hashsalt": salt}):
        figure = Figure(figsize=_SIZE)
        figure.set_layout_engine("constrained")
        axis = figure.subplots()
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=TICKS))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=TICKS))
        panel(axis)
        keys = [
            Key(label, _css(str(handle.get_color())), _DASHES.get(str(handle.get_linestyle()), ""))
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
            if isinstance(handle, Line2D)
        ]
        data = io.StringIO()
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None})
    title = axis.get_title()
    return Drawing(_themed(data.getvalue(), title), title), keys


def _css(color: str) -> str:
    role = _ROLES.get({"black": "#000000"}.get(color, color))
    return f"var(--{role})" if role else color


def _themed(document: str, title: str) -> str:
    """The document's `<svg>` with roles for colours, short coordinates and a name."""
    body = document[document.index(">", document.index("<svg")) + 1 :]
    body = _NOT_DRAWN.sub("", body)
    for color, role in _ROLES.items():
        body = re.sub(rf"{color}\b", f"var(--{role})", body, flags=re.IGNORECASE)
    body = _PATH.sub(lambda path: _DECIMALS.sub(r"\1", path[0]), body)
    box = _VIEW_BOX.search(document)
    assert box is not None
    # What has no colour of its own takes the page's: SVG would fill it with black.
    return f'<svg {box[0]} role="img" aria-label="{html.escape(title)}" fill="var(--ink)">{body}'
