"""Agents' records as an array: all of them come back, those of older states as well."""

from __future__ import annotations

import numpy as np
import pytest

from metagenrl.objective_server.agent_table import agents_of, table_of
from metagenrl.objective_server.answers import AgentRecord, Totals
from metagenrl.objective_server.state import ServerState

RECORDS = {
    7: AgentRecord(20, 1, 2, 3, 4, 5, 6, 7, 8, quarantine=0),
    2: AgentRecord(sent=9, accepted=9),
    11: AgentRecord(quarantine=3),
}


@pytest.mark.parametrize("records", [RECORDS, {}])
def test_records_come_back(records: dict[int, AgentRecord]) -> None:
    table = table_of(records)
    assert table.dtype == np.int64
    assert agents_of(table) == records
    assert list(agents_of(table)) == list(records)


def test_a_state_of_format_1_is_read() -> None:
    state = ServerState.start("r", np.ones(3, np.float32), 0.1).to_dict()
    records = {str(agent): record._asdict() for agent, record in RECORDS.items()}
    old = {**state, "format": 1, "agents": records}
    assert ServerState.from_dict(old, 0.1).agents == RECORDS
    with pytest.raises(ValueError, match="format: got 3, allowed: 1 or 2"):
        ServerState.from_dict({**state, "format": 3}, 0.1)


def test_totals_are_sums_over_the_agents() -> None:
    state = ServerState.start("r", np.ones(3, np.float32), 0.1)
    assert state.totals() == Totals(0, 0, 0, 0)
    state = ServerState(state.run, state.alpha, state.adam, 0, 0, RECORDS)
    assert state.totals() == Totals(accepted=10, rejected=27, stale=2, duplicate=3)
