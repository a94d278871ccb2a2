"""The off-policy baselines learn. Tests of the others are beside what they test.

Agents are made as the command line makes them; only sizes and steps are smaller.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metagenrl.baselines.registry import TrainedAgent, make_agent
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.agent_job import ObjectiveChoice, Rule, TraineeJob, agent_for

SEEDS = 2
AGENT = AgentConfig(
    hidden_units=32, batch_size=16, random_steps=1_000, learning_starts=200,
    replay_capacity=10_000,
)  # fmt: skip


def score(agent: TrainedAgent, env: str) -> float:
    return float(np.mean([episode.undiscounted_return for episode in agent.evaluate(5, env)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "env", "transitions", "penalty", "steps", "threshold"),
    [
        ("ddpg", "Pendulum-v1", 256, 0.0, 5_000, -400),
        ("reinforce-off", "InvertedDoublePendulum-v5", 0, 0.05, 6_000, 150),
    ],
)
def test_it_learns(
    algo: Rule,
    env: str,
    transitions: int,
    penalty: float,
    steps: int,
    threshold: float,
    tmp_path: Path,
) -> None:
    """Mean of two seeds, before and after; untrained policies have about -1 400 and 80."""
    torch.set_num_threads(1)
    config = replace(AGENT, action_penalty=penalty)
    before, after = [], []
    for seed in range(SEEDS):
        job = TraineeJob(
            env=env, seed=seed, label=algo, steps=steps, eval_every=steps, eval_episodes=5,
            folder=str(tmp_path), agent=agent_for(algo, config, transitions),
            objective=ObjectiveChoice(algo),
        )  # fmt: skip
        agent = make_agent(job)
        before.append(score(agent, env))
        for _ in range(steps):
            agent.step()
        after.append(score(agent, env))
        agent.close()
    assert np.mean(before) < threshold < np.mean(after), (before, after)
