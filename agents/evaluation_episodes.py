"""Undisturbed episodes of a policy, the same initial states at every evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from metagenrl.agents.environment.environment import Array, Environment, require_sizes
from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.experience.failures import PROVEN_RETRIES, EnvironmentFailed
from metagenrl.agents.experience.rollout import Episode
from metagenrl.base.checks import brief

EVALUATION_STREAM = 1_000_003
"""Spawn key of the evaluation episodes' seeds: no agent of a population has this index."""

logger = logging.getLogger(__name__)


def evaluation_environment(env_id: str, seed: int, limit: int = EPISODE_LIMIT) -> Environment:
    """The environment that agent `seed` is evaluated in, before its first episode."""
    stream = np.random.SeedSequence(seed, spawn_key=(EVALUATION_STREAM,))
    return Environment(env_id, np.random.default_rng(stream), limit)


def evaluate_policy(
    env_id: str,
    seed: int,
    act: Callable[[Array], Array],
    episodes: int,
    limit: int = EPISODE_LIMIT,
    sizes: tuple[int, int] | None = None,
) -> list[Episode]:
    """Episodes of `act` ([O] -> [A] in [-1, 1]), each of `limit` steps at most.

    `limit` is for environments without a time limit of their own. An episode in which the
    environment raises is repeated with the next seed; raises `EnvironmentFailed` where
    `PROVEN_RETRIES` in a row did not help, and whatever the policy raises. `sizes`: the policy's
    O and A; raises `ValueError` where the environment was made with others.
    """
    environment = evaluation_environment(env_id, seed, limit)
    results: list[Episode] = []
    failures = 0
    try:
        if sizes is not None:
            require_sizes(environment, sizes)
        while len(results) < episodes:
            episode = _episode(environment, act)
            if isinstance(episode, Episode):
                results.append(episode)
                failures = 0
                continue
            failures += 1
            if failures > PROVEN_RETRIES:
                why = brief(episode, 400)
                raise EnvironmentFailed(
                    f"{env_id}: raised in {failures} evaluation episodes in a row: {why}"
                ) from episode
            logger.warning(
                "%s raised, its evaluation episode is repeated with the next seed: %s",
                env_id, brief(episode, 400),
            )  # fmt: skip
    finally:
        environment.close()
    return results


def _episode(environment: Environment, act: Callable[[Array], Array]) -> Episode | Exception:
    """A whole episode, or what the environment raised in it."""
    try:
        observation = environment.reset()
    except Exception as error:
        return error
    while True:
        action = act(observation)
        _require_finite(environment, action)
        try:
            result = environment.step(action)
        except Exception as error:
            environment.abandon_episode()
            return error
        if result.ended:
            return Episode(environment.episode_return, environment.episode_length, result.cut)
        observation = result.observation


def _require_finite(environment: Environment, action: Array) -> None:
    """What the policy does wrong is not the environment's fault."""
    if not np.isfinite(action).all():
        raise FloatingPointError(f"{environment.env_id}: the policy's action is {action}")
