"""What a run that goes on is refused for before its agents are placed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagenrl.base.checks import UsageError
from metagenrl.cluster.engines.placement import hosts_of
from metagenrl.runs.config.train import TrainConfig


def states(observations: int) -> dict[str, Any]:
    """Those of a run of one agent, as far as placing it needs them."""
    buffer = {"observations": np.zeros((5, observations)), "actions": np.zeros((5, 1))}
    seat = {"left": False}
    return {
        "population": {"roster": {"0": seat}},
        "agent-0000": {"rollout": {"buffer": buffer}},
    }


def test_an_environment_of_other_sizes_than_the_run_began_with_is_refused(tmp_path: Path) -> None:
    config = TrainConfig(
        envs=("Pendulum-v1",), agents=1, steps=10, engine="inprocess", run_dir=tmp_path,
        resume=tmp_path,
    )  # fmt: skip
    assert hosts_of(config, states(3)).plan == ((0,),)
    told = r"Pendulum-v1 has 3 observations and 1 actions now, agent 0 began with 4 and 1\)"
    with pytest.raises(UsageError, match=told):
        hosts_of(config, states(4))
