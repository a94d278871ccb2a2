"""The population as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from metagenrl.analysis.number_text import number
from metagenrl.cluster.view.status import RunStatus, by_environment, mean_return, states
from metagenrl.learner.measures import MEASURES
from metagenrl.runs.rate import duration
from metagenrl.runs.rows import AgentRow

_AROUND_ROWS = 6
"""Lines that are no rows: message, header (three), the table's head, and the cursor's."""
_BAR_WIDTH = 30
_GAP = 2
_SHORT_NAME, _SHORTEST_NAME = 16, 5
"""Columns that a name keeps before a number is left out for it, and in the narrowest terminal."""
_DEAREST = 2
"""Columns up to this rank stay until names are at their shortest."""
_STATE_STYLES = {
    "learning": "",
    "random": "dim",
    "starting": "dim",
    "failed": "bold red",
    "quarantined": "bold red",
}
_UNUSUAL = "yellow"


def render(status: RunStatus, width: int, height: int) -> RenderableType:
    """The header, and a row per agent, or per environment where the terminal is too short."""
    agents = sorted(status.agents, key=lambda row: row.agent)
    fits = len(agents) + _AROUND_ROWS <= height
    columns = _agent_columns(agents) if fits else _environment_columns(agents)
    return Group(*_header(status, width), _table(columns, width))


def _header(status: RunStatus, width: int) -> list[RenderableType]:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(status.run, style="bold")
    line.append(f"   round {status.round:,}   version {status.version:,}")
    if status.gradient_norm is not None:
        line.append(f"   |mean g| {number(status.gradient_norm)}")
    if status.cosine is not None:
        line.append(f"   cosine {status.cosine:+.2f}")
    rate = "?" if status.rate is None else f"{status.rate:,.{0 if status.rate >= 10 else 1}f}"
    share = status.agent_steps / status.goal if status.goal else 1.0
    numbers = Text(
        f"{share:4.0%}  {rate} agent-steps/s  {duration(status.elapsed)} gone  "
        f"{duration(status.left)} left",
        no_wrap=True,
        overflow="ellipsis",
    )
    bar = ProgressBar(
        total=max(1, status.goal), completed=status.agent_steps, width=min(_BAR_WIDTH, width // 4)
    )
    progress = Table.grid(padding=(0, 1))
    progress.add_row(bar, numbers)
    return [line, progress, Text()]


@dataclass(frozen=True)
class _Column:
    heading: str
    cells: list[str] | list[Text]
    numeric: bool = True
    rank: int = 0  # 0: always there; the highest is left out first

    @property
    def width(self) -> int:
        return max(cell_len(str(cell)) for cell in [self.heading, *self.cells])


def _table(columns: Sequence[_Column], width: int) -> Table:
    """Names give way first, then columns go by their rank, so that no number is ever cut."""
    columns = list(columns)
    for short, dearest in ((_SHORT_NAME, _DEAREST), (_SHORTEST_NAME, 0)):
        while (room := _room_for_names(columns, width, short)) < 0:
            dispensable = max(columns, key=lambda column: column.rank)
            if dispensable.rank <= dearest:
                break
            columns.remove(dispensable)
        if room >= 0:
            break
    # What is to spare goes to the names from left to right.
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    spare = max(0, room)
    for column in columns:
        limit = column.width
        if not column.numeric:
            limit = min(column.width, short + spare)
            spare -= max(0, limit - short)
        table.add_column(
            column.heading,
            justify="right" if column.numeric else "left",
            no_wrap=True,
            max_width=limit,
            overflow="ellipsis",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _room_for_names(columns: Sequence[_Column], width: int, short: int) -> int:
    """The rest of `width` beside all numbers in full and names of at most `short` columns."""
    widths = (c.width if c.numeric else min(c.width, short) for c in columns)
    return width - sum(widths) - _GAP * (len(columns) - 1)


def _agent_columns(rows: Sequence[AgentRow]) -> list[_Column]:
    return [
        _Column("agent", [str(row.agent) for row in rows]),
        _Column("environment", [row.env for row in rows], numeric=False, rank=1),
        _Column("steps", [f"{row.steps:,}" for row in rows], rank=2),
        _Column("life", [str(row.life) for row in rows], rank=4),
        _Column("age", [f"{row.life_steps:,}" for row in rows], rank=5),
        _Column("return", [number(row.return_mean) for row in rows]),
        _Column("Q", [number(row.q) for row in rows], rank=3),
        _Column("|g|", [number(row.gradient_norm) for row in rows], rank=6),
        _Column("lag", [str(row.lag) for row in rows], rank=7),
        *_measures([[row] for row in rows], rank=8),
        _Column("state", [_state(row) for row in rows], numeric=False),
    ]


def _state(row: AgentRow) -> Text:
    count = f" ({row.restarts} restart{'s' if row.restarts > 1 else ''})" if row.restarts else ""
    return Text(f"{row.state}{count}", style=_STATE_STYLES.get(row.state, _UNUSUAL))


def _environment_columns(rows: Sequence[AgentRow]) -> list[_Column]:
    groups = by_environment(rows)
    members = list(groups.values())
    returns = [[row.return_mean for row in m if row.return_mean is not None] for m in members]
    usual = [all(row.state in ("learning", "random", "starting") for row in m) for m in members]
    return [
        _Column("environment", list(groups), numeric=False),
        _Column("agents", [str(len(m)) for m in members], rank=3),
        _Column("steps", [f"{sum(row.steps for row in m) // len(m):,}" for m in members], rank=2),
        _Column("return", [number(mean_return(m)) for m in members]),
        _Column("min", [number(min(r, default=None)) for r in returns], rank=4),
        _Column("max", [number(max(r, default=None)) for r in returns], rank=5),
        _Column("Q", [number(_mean([row.q for row in m])) for m in members], rank=6),
        _Column("|g|", [number(_mean([row.gradient_norm for row in m])) for m in members], rank=7),
        *_measures(members, rank=8),
        _Column(
            "state",
            [
                Text(states(m), style="" if ok else _UNUSUAL)
                for m, ok in zip(members, usual, strict=True)
            ],
            numeric=False,
            rank=1,
        ),
    ]


def _measures(groups: Sequence[Sequence[AgentRow]], rank: int) -> list[_Column]:
    """The measures of the policies, a group of agents in each line."""
    return [
        _Column(
            each.heading,
            [number(_mean([row.values.get(each.name) for row in group])) for group in groups],
            rank=rank + index,
        )
        for index, each in enumerate(MEASURES)
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
