"""Undisturbed episodes of a policy, the same initial states at every evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metagenrl.agents.environment.environment import Array, Environment
from metagenrl.agents.experience.rollout import Episode

EVALUATION_STREAM = 1_000_003
"""Spawn key of the evaluation episodes' seeds: no agent of a population has this index."""


def evaluation_environment(env_id: str, seed: int) -> Environment:
    """The environment that agent `seed` is evaluated in, before its first episode."""
    stream = np.random.SeedSequence(seed, spawn_key=(EVALUATION_STREAM,))
    return Environment(env_id, np.random.default_rng(stream))


def evaluate_policy(
    env_id: str, seed: int, act: Callable[[Array], Array], episodes: int
) -> list[Episode]:
    """Episodes of `act` ([O] -> [A] in [-1, 1]). Raises whatever the environment raises."""
    environment = evaluation_environment(env_id, seed)
    results = []
    for _ in range(episodes):
        observation, over = environment.reset(), False
        while not over:
            result = environment.step(act(observation))
            observation, over = result.observation, result.terminated or result.truncated
        results.append(Episode(environment.episode_return, environment.episode_length))
    environment.close()
    return results
