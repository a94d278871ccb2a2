"""Pictures made of blocks of panels, in one style. Draws on Agg; no window, no global state."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from metagenrl.analysis.pictures.style import only
from metagenrl.base.files.atomic import write_atomic

# Okabe and Ito's palette, safe for the colour-blind; without its yellow, which white swallows.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
NEUTRAL = "#5F5F5F"
LINE_STYLES = ("-", "--", "-.", ":")

_COLUMNS = 3
_PANEL = (4.4, 2.9)  # inches
_NARROWEST = 6.5
_TITLE_HEIGHT = 0.5
_TITLE_LINE = 0.2
_LEGEND_LINE = 0.25
_LEGEND_KEY = 8  # characters that a legend's line sample is as wide as
_CHARACTERS = 12  # of a legend or of a block's title in an inch
_LARGE_CHARACTERS = 9  # of the picture's title
_ROW_LABEL = 24  # characters beside a row
_ROW = 0.45  # inches of a row whose label takes three lines
_PANEL_TITLE = 48  # characters over a panel
_DPI = 130
TICKS = [1, 2, 2.5, 5, 10]
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}

Panel = Callable[[Axes], None]


@dataclass(frozen=True)
class Block:
    """Panels under a common title; lines that they label share one legend below them."""

    title: str
    panels: Sequence[Panel]
    labels: Sequence[str] = ()  # of the common legend, for its height; (): none
    named_rows: int = 0  # of a panel, by `row_labels`, for its height

    @property
    def columns(self) -> int:
        """Panels side by side."""
        return 2 if len(self.panels) == 4 else min(_COLUMNS, len(self.panels))

    @property
    def rows(self) -> int:
        """Panels one above the other."""
        return -(-len(self.panels) // self.columns)

    def legend_columns(self, width: float) -> int:
        """Entries of the legend side by side in a picture of `width` inches."""
        longest = max(map(len, self.labels), default=1) + _LEGEND_KEY
        return max(1, min(len(self.labels), int(width * _CHARACTERS) // longest))

    def title_lines(self, width: float) -> list[str]:
        """The title, broken where a picture of `width` inches would cut it off."""
        return textwrap.wrap(self.title, int(width * _CHARACTERS))

    def height(self, width: float) -> float:
        """Inches in a picture of `width` inches."""
        lines = -(-len(self.labels) // self.legend_columns(width)) if self.labels else 0
        title = _TITLE_HEIGHT + (len(self.title_lines(width)) - 1) * _TITLE_LINE
        return self.rows * max(_PANEL[1], self.named_rows * _ROW) + title + lines * _LEGEND_LINE


def row_labels(axis: Axes, labels: Sequence[str]) -> None:
    """Name the rows 0, 1, … of a panel; long names take several lines, and leave it its room."""
    texts = [
        textwrap.fill(name, _ROW_LABEL, max_lines=3, placeholder=" …", break_on_hyphens=False)
        for name in labels
    ]
    small = any(len(label) > _ROW_LABEL for label in labels)
    axis.set_yticks(range(len(texts)), texts, fontsize=7 if small else None)


def draw(title: str, blocks: Sequence[Block], out: Path) -> Path:
    """Draw the blocks one above the other into the PNG `out`; a kill leaves the former one.

    Raises `ValueError` for no panels at all and `OSError` where it cannot be written.
    """
    blocks = [block for block in blocks if block.panels]
    if not blocks:
        raise ValueError(f"picture: got nothing to draw into {out}, allowed: at least one panel")
    with only(STYLE):
        width = max(_NARROWEST, max(block.columns for block in blocks) * _PANEL[0])
        heights = [block.height(width) for block in blocks]
        lines = textwrap.wrap(title, int(width * _LARGE_CHARACTERS))
        top = _TITLE_HEIGHT + (len(lines) - 1) * _LEGEND_LINE
        figure = Figure(figsize=(width, sum(heights) + top), dpi=_DPI)
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
        figure.suptitle("\n".join(lines), fontsize=13, fontweight="bold")
        parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)
        for block, part in zip(blocks, parts[:, 0], strict=True):
            _draw_block(block, part, width)
        data = io.BytesIO()
        with warnings.catch_warnings():  # letters that the font lacks are drawn as boxes
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            figure.savefig(data, format="png")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, [data.getvalue()])
    return out


def _draw_block(block: Block, part: Any, width: float) -> None:
    part.suptitle("\n".join(block.title_lines(width)), fontsize=11, color=NEUTRAL)
    axes = list(part.subplots(block.rows, block.columns, squeeze=False).flat)
    for panel, axis in zip(block.panels, axes, strict=False):
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=TICKS))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=TICKS))
        panel(axis)
        # Only what is too long: a title may have lines of its own.
        if max(map(len, axis.get_title().split("\n"))) > _PANEL_TITLE:
            text = textwrap.fill(axis.get_title(), _PANEL_TITLE, break_on_hyphens=False)
            axis.set_title(text, fontsize=8)
    for axis in axes[len(block.panels) :]:
        axis.set_visible(False)
    if block.labels:
        handles: dict[str, Any] = {}
        for axis in part.axes:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        columns = block.legend_columns(width)
        part.legend(handles.values(), handles, loc="outside lower center", ncols=columns)


def steps_axis(axis: Axes, label: str) -> None:
    """Steps along x as 500, 20k, 1M."""
    axis.set_xlabel(label)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def note(axis: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    axis.set_axis_off()
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes, color=NEUTRAL)
