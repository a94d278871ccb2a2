"""The objectives of meta-tests and baselines (Algorithm 2, section 9), all frozen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.seeding import draw_torch_seed
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet, initial_alpha
from metagenrl.learner.policy_update import (
    CriticObjective,
    Learned,
    Objective,
    Reinforce,
    ReinforceByCritic,
)
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.agent_job import TraineeJob

ALPHA_STREAM = 1_000_004
"""Spawn key of the random control's alpha: no stream of the agent itself has it."""


def objective_for(job: TraineeJob) -> Objective:
    """The objective that trains the job's agent.

    Raises `CorruptFile`, `FutureFormat` or `WrongArchitecture` where the snapshot cannot be used.
    """
    choice = job.objective
    if choice.rule == "reinforce-off":
        return Reinforce(job.agent.gamma, job.agent.gae_lambda)
    if choice.rule == "reinforce-critic":
        return ReinforceByCritic(job.reinforce_critic.resample_noise)
    if choice.rule in ("td3", "ddpg"):
        return CriticObjective()
    net = ObjectiveNet(choice.architecture)
    if choice.rule == "random":
        return Learned(net, random_alpha(choice.architecture, job.seed))
    snapshot = ObjectiveSnapshot.load(Path(choice.snapshot))
    snapshot.expect(choice.architecture, net.layout.size)
    return Learned(net, torch.from_numpy(snapshot.alpha.copy()))


def random_alpha(architecture: ObjectiveConfig, seed: int) -> Tensor:
    """The untrained control's alpha, `[P_alpha]`: another one for each seed."""
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ALPHA_STREAM,)))
    return initial_alpha(architecture, torch.Generator().manual_seed(draw_torch_seed(stream)))
