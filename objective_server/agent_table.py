"""Every agent's record as one array, which costs a commit far less than a dict for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.objective_server.answers import AgentRecord

Table = NDArray[np.int64]

_FREE = -1  # for `AgentRecord.quarantine`'s None; incarnations count from 0
_COLUMNS = 1 + len(AgentRecord._fields)


def table_of(agents: Mapping[int, AgentRecord]) -> Table:
    """`[N, 11]`: agent, then the fields of its record in their order."""
    rows = [
        (agent, *record[:-1], _FREE if record.quarantine is None else record.quarantine)
        for agent, record in agents.items()
    ]
    return np.array(rows, np.int64).reshape(-1, _COLUMNS)


def agents_of(table: Any) -> dict[int, AgentRecord]:
    """Undo `table_of`; the dict of dicts that format 1 had instead is read as well."""
    if isinstance(table, Mapping):
        return {int(agent): AgentRecord(**record) for agent, record in table.items()}
    return {
        agent: AgentRecord._make([*record, None if quarantine == _FREE else quarantine])
        for agent, *record, quarantine in table.tolist()
    }
