"""Evolved losses in meta-tests: the agent that a snapshot describes."""

from __future__ import annotations

from pathlib import Path

import torch

from metagenrl.agents.environment.make import check_environment
from metagenrl.base.checks import UsageError
from metagenrl.baselines.epg.agent import EpgAgent
from metagenrl.baselines.epg.loss_net import LossNet
from metagenrl.baselines.padding import Padding
from metagenrl.objective_server.snapshots.errors import WrongArchitecture
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.agent_job import TraineeJob
from metagenrl.runs.config.epg_config import EpgConfig
from metagenrl.runs.config.yaml import build


def agent_of(snapshot: ObjectiveSnapshot) -> EpgConfig:
    """The agent that the loss trains. Raises `UsageError`, `WrongArchitecture`."""
    fields = {name: value for name, value in snapshot.config.items() if name != "kind"}
    config = build(EpgConfig, fields)
    expected = LossNet(config.features).layout.size
    if snapshot.alpha.size != expected:
        raise WrongArchitecture(f"{snapshot.alpha.size} parameters", f"{expected} parameters")
    return config


def check_usable(snapshot: ObjectiveSnapshot, env: str) -> None:
    """Raise `UsageError` where the environment does not fit the loss's padding."""
    config = agent_of(snapshot)
    try:
        Padding(config.pad_observations, config.pad_actions).require_fits(check_environment(env))
    except ValueError as error:
        raise UsageError(str(error)) from error


def epg_agent(job: TraineeJob) -> EpgAgent:
    """A new agent that the loss in the job's snapshot trains.

    Raises `CorruptFile`, `FutureFormat`, `WrongArchitecture`, and `ValueError` where the
    environment does not fit the padding.
    """
    snapshot = ObjectiveSnapshot.load(Path(job.objective.snapshot))
    phi = torch.from_numpy(snapshot.alpha.copy())
    return EpgAgent(agent_of(snapshot), job.env, job.seed, phi)
