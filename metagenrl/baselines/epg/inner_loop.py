"""One inner loop of Evolved Policy Gradients: a loss trains a new agent and gets its fitness."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.environment.spec import drawn_environment
from metagenrl.agents.experience.rollout import Episode
from metagenrl.baselines.epg.agent import EpgAgent
from metagenrl.learner.types import Array
from metagenrl.runs.config.epg_config import EpgConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class InnerLoop:
    """The orders for one inner loop."""

    agent: EpgConfig
    env: str
    seed: int
    phi: Array  # [P], of the perturbed loss
    ppo_weight: float
    updates: int
    """Updates of the policy, `agent.update_every` steps apart."""
    episodes: int
    """Episodes of the trained policy that make the fitness."""
    limit: int = EPISODE_LIMIT
    """Steps of such an episode in an environment without a time limit."""


@dataclass(frozen=True)
class InnerLoopResult:
    """The result of one inner loop."""

    fitness: float  # mean undiscounted return of the trained policy; -inf where it diverged
    last_return: float | None  # of the last of its episodes; None where it diverged
    episode_length: float | None  # mean, steps
    steps: int  # environment steps of the training
    loss: float | None  # of the last minibatch
    policy_gradient_norm: float | None  # of the last minibatch
    skipped_updates: int  # whose gradient was not finite


def run_inner_loop(loop: InnerLoop) -> InnerLoopResult:
    """Train a new agent and evaluate it.

    A loss that drives the policy beyond all numbers is the worst of all, not a failure. Raises
    whatever the environment raises.
    """
    env = drawn_environment(loop.env, loop.seed, 0, 0)
    agent = EpgAgent(loop.agent, env, loop.seed, torch.tensor(loop.phi), loop.ppo_weight)
    episodes: list[Episode] = []
    try:
        for _ in range(loop.updates * loop.agent.update_every):
            agent.step()
        episodes = agent.evaluate(loop.episodes, limit=loop.limit)
    except FloatingPointError as error:
        logger.warning("the policy diverged: %s", error)
    finally:
        agent.close()
    returns = [episode.undiscounted_return for episode in episodes]
    return InnerLoopResult(
        fitness=float(np.mean(returns)) if returns else -math.inf,
        last_return=returns[-1] if returns else None,
        episode_length=float(np.mean([e.length for e in episodes])) if episodes else None,
        steps=agent.steps,
        loss=agent.loss if math.isfinite(agent.loss) else None,
        policy_gradient_norm=agent.gradient_norm if math.isfinite(agent.gradient_norm) else None,
        skipped_updates=agent.skipped_updates,
    )
