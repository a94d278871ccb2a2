"""What is measured: the sizes of the presets, and minibatches to measure them on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from metagenrl.agents.environment.make import check_environment
from metagenrl.base.checks import require
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.types import Batch
from metagenrl.runs.config.presets import PRESETS

SizeName = Literal["paper", "small"]

ENVIRONMENT = "HalfCheetah-v5"
"""Gives observation and action sizes; agent-steps are measured in it and without it."""


@dataclass(frozen=True)
class Problem:
    """Sizes of one measurement.

    Annealing is over: that is the state of all but the first steps of a run. Raises `ValueError`
    for a variant of the method that the plain reference does not have.
    """

    name: str
    env_id: str
    observation_size: int  # O
    action_size: int  # A
    agent: AgentConfig
    objective: ObjectiveConfig
    meta: MetaConfig

    def __post_init__(self) -> None:
        net, meta = self.objective, self.meta
        features = ObjectiveNet(net).features.inputs
        require(features == 4, "objective", net, "time and both values among its inputs")
        plain = not (net.bidirectional or net.use_observation)
        require(plain, "objective", net, "the paper's: one LSTM, no observation")
        require(net.normalization == "zscore", "normalization", net.normalization, "zscore")
        require(self.agent.twin_critics, "twin_critics", False, "True")
        require(meta.inner_steps == 1, "inner_steps", meta.inner_steps, "1")
        require(meta.inner_reduction == "sum", "inner_reduction", meta.inner_reduction, "sum")
        require(meta.gradient_scaling == "clip", "gradient_scaling", meta.gradient_scaling, "clip")

    @property
    def rows(self) -> int:
        """Steps in a minibatch, `N = B * T`."""
        return self.agent.batch_size * self.agent.segment_length


def preset_problem(name: SizeName) -> Problem:
    """The sizes of a preset in HalfCheetah-v5.

    How inputs and gradients are scaled is the paper's, whatever the preset chose: one form of
    the plain reference then serves every size.
    """
    spec, agent = check_environment(ENVIRONMENT), PRESETS[name].train.agent
    return Problem(
        name, spec.env_id, spec.observation_size, spec.action_size, agent,
        ObjectiveConfig(), MetaConfig(anneal_steps=0),
    )  # fmt: skip


def synthetic_batch(
    problem: Problem, generator: torch.Generator, shortest: int | None = None
) -> Batch:
    """A random minibatch in torch's default type.

    Segments are full, as nearly all of HalfCheetah's are, or of `shortest` to T steps.
    """
    b, t = problem.agent.batch_size, problem.agent.segment_length
    lengths = torch.randint(shortest or t, t + 1, (b, 1), generator=generator)
    mask = (torch.arange(t) < lengths).to(torch.get_default_dtype())
    ends = (torch.arange(t) == lengths - 1) & (lengths < t)
    s = torch.randn(b, t + 1, problem.observation_size, generator=generator)
    a = torch.rand(b, t, problem.action_size, generator=generator) * 2 - 1
    return Batch(
        s * (torch.arange(t + 1) <= lengths).unsqueeze(-1),
        a * mask.unsqueeze(-1),
        torch.randn(b, t, generator=generator) * mask,
        ends.to(mask.dtype),
        mask,
    )
