"""Minibatches of trajectories and the agents they belong to: stored by a run, or made anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metagenrl.agents.backend.actor_critic import ActorCritic
from metagenrl.agents.experience.replay import ReplayBuffer
from metagenrl.agents.trainee import Trainee, TraineeConfig
from metagenrl.base.checks import UsageError
from metagenrl.base.files.checkpoint_folder import newest_complete, read_folder
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.policy_update import Objective
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.resampling import resampling_noise, shown
from metagenrl.runs.checkpoints import agent_part
from metagenrl.runs.names import CHECKPOINTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AgentSamples:
    """One agent's policy and critic on minibatches of its own trajectories."""

    name: str
    env: str
    agent: AgentConfig
    evaluations: Sequence[PolicyEvaluation]


def stored_samples(
    run_dir: Path, envs: Sequence[str], config: AgentConfig, resample_noise: float, agents: int,
    minibatches: int, seed: int,
) -> list[AgentSamples]:  # fmt: skip
    """From the newest complete checkpoint, up to `agents` of each environment.

    `envs`: the environment of each of the run's agents, which learn as `config` says;
    `resample_noise`: that of the objective, which is shown these minibatches.
    Agents whose buffer is smaller than a minibatch, as just after a rebirth, are left out. Raises
    `UsageError` where nothing is left, or no checkpoint is complete.
    """
    path = newest_complete(run_dir / CHECKPOINTS)
    if path is None:
        raise UsageError(
            f"objective: got {str(run_dir)!r} (no complete checkpoint), allowed: a run with "
            "one, or --env"
        )
    taken: dict[str, int] = {}
    samples = []
    for index, env, state in _agent_states(path, envs):
        if taken.get(env, 0) >= agents:
            continue
        sample = _restored(
            f"agent {index}", env, config, resample_noise, state, minibatches, seed + index
        )
        if sample is not None:
            taken[env] = taken.get(env, 0) + 1
            samples.append(sample)
    if not samples:
        raise UsageError(f"objective: got {str(run_dir)!r} (its buffers are empty), allowed: --env")
    return samples


def _agent_states(path: Path, envs: Sequence[str]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """One agent at a time: a replay buffer is large."""
    for index, env in enumerate(envs):
        part = agent_part(index)
        try:
            state = read_folder(path, [part])[part]
        except (CorruptFile, FutureFormat):
            raise
        except ValueError:  # it had failed, or left
            continue
        yield index, env, state


def _restored(
    name: str,
    env: str,
    config: AgentConfig,
    resample_noise: float,
    state: Mapping[str, Any],
    minibatches: int,
    seed: int,
) -> AgentSamples | None:
    saved = state["rollout"]["buffer"]
    stored, observation_size = saved["observations"].shape
    if stored < config.batch_size:
        logger.warning("%s (%s) is left out: %d stored steps", name, env, stored)
        return None
    action_size = saved["actions"].shape[1]
    buffer = ReplayBuffer(int(saved["capacity"]), observation_size, action_size)
    buffer.load_state_dict(saved)
    actor_critic = ActorCritic(config, observation_size, action_size, torch.Generator())
    actor_critic.load_state_dict(state["actor_critic"])
    return _samples(name, env, config, resample_noise, actor_critic, buffer, minibatches, seed)


def new_samples(
    env: str, config: AgentConfig, objective: Objective, steps: int, minibatches: int, seed: int
) -> list[AgentSamples]:
    """Of a new agent that `objective` trains in `env` for `steps` (Algorithm 2)."""
    trainee = Trainee(TraineeConfig(env, seed, config), objective)
    try:
        for _ in range(steps):
            trainee.step()
    finally:
        trainee.close()
    buffer = trainee.rollout.buffer
    if len(buffer) < config.batch_size:
        raise UsageError(f"steps: got {steps}, allowed: at least {config.batch_size}")
    actor_critic = ActorCritic(config, *trainee.sizes, torch.Generator())
    actor_critic.load_networks_state(trainee.backend.networks(0))
    own = "new agent", env, config, objective.resample_noise
    return [_samples(*own, actor_critic, buffer, minibatches, seed)]


@torch.no_grad()
def _samples(
    name: str,
    env: str,
    config: AgentConfig,
    resample_noise: float,
    actor_critic: ActorCritic,
    buffer: ReplayBuffer,
    minibatches: int,
    seed: int,
) -> AgentSamples:
    rng = np.random.default_rng(seed)
    batches = [
        buffer.sample(rng, config.batch_size, config.segment_length).batch()
        for _ in range(minibatches)
    ]
    evaluations = [actor_critic.evaluate(batch) for batch in batches]
    generator = torch.Generator().manual_seed(seed)
    for one in evaluations:
        noise = resampling_noise(resample_noise, tuple(one.pi.shape), generator)
        if noise is not None:
            one.batch = shown(one.batch, one.pi, noise)
    return AgentSamples(name, env, config, evaluations)
