"""The population benchmark goes the population's way: a few tiny agents on a real Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import population
from benchmarks.population import PopulationOptions, in_own_process, population_config
from metagenrl.runs.config.presets import PRESETS


def test_its_agents_learn_from_the_start(tmp_path: Path) -> None:
    config = population_config(PopulationOptions(agents=6, per_actor=3, size="small"), tmp_path)
    assert (config.agents, config.agents_per_actor, config.engine) == (6, 3, "ray")
    assert config.agent.learning_starts == config.agent.random_steps == 2 * config.agent.batch_size
    assert config.agent.hidden_units == PRESETS["small"].train.agent.hidden_units
    assert (config.meta.lifetime, config.meta.anneal_steps) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("per_actor", "actors"), [(2, 1), (1, 2)])
def test_a_population_and_bare_processes_work_in_turns(per_actor: int, actors: int) -> None:
    options = PopulationOptions(2, per_actor, "small", pairs=2, seconds=0.3)
    result = in_own_process(options)
    assert (result.agents, result.actors, result.size) == (2, actors, "small")
    assert min(result.steps_per_s, result.steps_per_cpu_s, result.bare_steps_per_s) > 0
    assert len(result.percents) == 2
    assert min(result.percents) <= result.percent_of_bare <= max(result.percents)
    assert result.actors_cpu_ms > result.server_cpu_ms  # who computes and who adds
    assert result.bare_cpu_ms > 0
    assert result.ready_s > 0
    assert 0.1 < result.pss_gb < 20


def test_the_population_waits_while_bare_processes_are_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        with population._stopped([psutil.Process(), psutil.Process(process.pid)]):
            assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        assert os.WIFCONTINUED(os.waitpid(process.pid, os.WCONTINUED)[1])
        process.kill()


def test_a_measurement_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="agents: got 0"):
        in_own_process(PopulationOptions(agents=0, size="small", pairs=0))
