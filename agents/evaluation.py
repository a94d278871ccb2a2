"""What a policy is worth: episodes without exploration, apart from training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from metagenrl.agents.envs import Environment
from metagenrl.agents.rollout import Episode
from metagenrl.learner.types import Array

EVALUATION_STREAM = 1_000_003
"""Spawn key of the evaluation episodes' seeds: no agent of a population has this index."""


def undisturbed_episodes(
    env_id: str, seed: int, act: Callable[[Array], Array], episodes: int
) -> list[Episode]:
    """Episodes of the deterministic policy `act` ([O] -> [A]); the same initial states a seed.

    Raises whatever the environment raises.
    """
    seeds = np.random.SeedSequence(seed, spawn_key=(EVALUATION_STREAM,))
    environment = Environment(env_id, np.random.default_rng(seeds))
    results = []
    for _ in range(episodes):
        observation, over = environment.reset(), False
        while not over:
            result = environment.step(act(observation))
            observation, over = result.observation, result.terminated or result.truncated
        results.append(Episode(environment.episode_return, environment.episode_length))
    environment.close()
    return results
