"""A run's history where the population changed its size."""

from dataclasses import replace

import numpy as np
from fixtures.rows import AGENT, OBJECTIVE

from metagenrl.analysis.run_history import RunHistory
from metagenrl.runs.rows import EventRow


def test_steps_are_those_of_an_agent_also_when_the_population_grows_and_shrinks() -> None:
    history = RunHistory(2)
    for agent in (0, 1):
        history.add(replace(AGENT, agent=agent, steps=100))
    history.add(replace(OBJECTIVE, agent_steps=200))
    for agent in (2, 3):
        history.add(EventRow(1.0, 100, "joined", agent, "joined"))
    for agent in range(4):
        history.add(replace(AGENT, agent=agent, steps=150))
    history.add(replace(OBJECTIVE, agent_steps=400))
    for agent in (1, 2, 3):
        history.add(EventRow(2.0, 150, "left", agent, "left"))
    history.add(replace(OBJECTIVE, agent_steps=500))
    steps, _ = history.objective["alpha_norm"].arrays()
    np.testing.assert_allclose(steps, [100, 150, 250])
    assert (history.agents, history.away) == (1, {1, 2, 3})
