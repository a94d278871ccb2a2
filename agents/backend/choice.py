"""Which backend computes: the one place that looks at width, processor, device and variant."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metagenrl.agents.backend.graph import prepare_device
from metagenrl.agents.backend.interface import Backend, Setting
from metagenrl.agents.backend.native import Native
from metagenrl.agents.backend.reference import Reference
from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.environment.remote import EnvWorkers, Timeouts
from metagenrl.agents.experience.rollout import EnvironmentMaker
from metagenrl.base.checks import require
from metagenrl.learner.hyperparams import (
    AgentConfig,
    BackendName,
    Device,
    MetaConfig,
    ObjectiveConfig,
)
from metagenrl.learner.native import forms, library
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.ops import NATIVE, PLAIN, Ops
from metagenrl.learner.policy_update import Learned, Objective


@dataclass(frozen=True)
class Computing:
    """How a run's agents are to be computed, as its configuration says."""

    backend: BackendName = "auto"
    device: Device = "cpu"
    env_workers: int = 0  # processes that step a cohort's environments; 0: its own
    timeouts: Timeouts | None = None  # of these processes; None: the defaults

    def environments(self) -> EnvironmentMaker:
        """How a cohort's environments are made."""
        if not self.env_workers:
            return Environment
        return EnvWorkers(self.env_workers, self.timeouts).environment


def choose(
    computing: Computing,
    agent: AgentConfig,
    meta: MetaConfig,
    objective: ObjectiveConfig,
    sizes: tuple[int, int],
    slots: int,
) -> Backend:
    """The backend for `slots` agents whose observations and actions have these `sizes`.

    `auto` is the fastest that there is for the networks' width and this processor: `native` for
    small networks, else the reference with each agent for itself; `reference`, or a GPU, has all of
    them compute at once. Raises `ValueError` where there is no such device, or the choice is
    `native` and the networks are too wide or the library was not built.
    """
    net = ObjectiveNet(objective)
    setting = Setting(agent, sizes, Learned(net, torch.zeros(net.layout.size)), meta)
    if computing.backend == "reference" or computing.device == "cuda":
        device = prepare_device(computing.device)
        return Reference(setting, slots, device, at_once=slots)
    whole = forms.agents(agent)
    allowed = "auto, reference: the networks are too wide for it, or it was not built here"
    require(whole or computing.backend != "native", "backend", computing.backend, allowed)
    if whole:
        return Native(setting)
    return Reference(setting, slots, ops=_ops())


def choose_alone(agent: AgentConfig, objective: Objective, sizes: tuple[int, int]) -> Backend:
    """The backend, on the CPU, for an agent that a fixed objective trains."""
    setting = Setting(agent, sizes, objective, None)
    return Native(setting) if forms.agents(agent) else Reference(setting, ops=_ops())


def _ops() -> Ops:
    """How the reference computes on this CPU: in C where the library was built."""
    return PLAIN if library.backend() == "torch" else NATIVE
