"""The population benchmark goes the population's way: a few tiny agents on a real Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
from metagenrl.cluster.presets import PRESETS

from benchmarks.population import PopulationOptions, in_own_process, population_config


def test_its_agents_learn_from_the_start(tmp_path: Path) -> None:
    config = population_config(PopulationOptions(agents=6, per_actor=3, size="small"), tmp_path)
    assert (config.agents, config.agents_per_actor, config.engine) == (6, 3, "ray")
    assert config.agent.learning_starts == config.agent.random_steps == 2 * config.agent.batch_size
    assert config.agent.hidden_units == PRESETS["small"].train.agent.hidden_units
    assert (config.meta.lifetime, config.meta.anneal_steps) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("per_actor", "actors"), [(2, 1), (1, 2)])
def test_rounds_of_a_population_are_counted(per_actor: int, actors: int) -> None:
    options = PopulationOptions(agents=2, per_actor=per_actor, size="small", seconds=0.5)
    result = in_own_process(options)
    assert (result.agents, result.actors, result.size) == (2, actors, "small")
    assert result.rounds >= 2
    assert result.steps_per_s > 0
    assert result.steps_per_cpu_s > 0
    assert result.ready_s > 0
    assert 0.1 < result.pss_gb < 20


def test_a_measurement_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="agents: got 0"):
        in_own_process(PopulationOptions(agents=0, size="small", seconds=0))
