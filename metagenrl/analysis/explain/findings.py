"""Everything that an explanation knows, by environment, ready to be drawn and put into words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from metagenrl.analysis.explain.measures import (
    ACTION,
    ADVANTAGE,
    CRITIC,
    Alignment,
    Array,
    Explained,
    alignment,
)
from metagenrl.analysis.explain.responses import (
    DEVIATIONS,
    OFFSETS,
    TIMES,
    action_response,
    feature_response,
)
from metagenrl.analysis.explain.trajectories import AgentSamples
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.policy_update import Learned

REWARDS = {
    "low reward (normalised: -1.5)": -1.5,
    "mean reward": 0.0,
    "high reward (normalised: +1.5)": 1.5,
}
"""Of the curves over the taken action, as the objective sees it."""
RULES = (ADVANTAGE, CRITIC)


@dataclass(frozen=True)
class Curve:
    """A response over one input, by environment."""

    grid: Array  # [V]
    values: dict[str, Array]  # [V]


@dataclass(frozen=True)
class VersionFindings:
    """One version in short: means over all agents."""

    version: int
    alignment: dict[str, float]  # cosine in the space of actions, by rule
    sensitivity: dict[str, float]  # by input


@dataclass(frozen=True)
class Findings:
    """The findings about one version, and in short about earlier ones."""

    version: int
    environments: Sequence[str]
    agents: int
    alignments: Sequence[Alignment]  # of each agent
    sensitivities: Sequence[tuple[str, dict[str, float]]]  # (environment, by input) of each agent
    inputs: Sequence[str]
    reach: Array  # [T, inputs], mean over the agents
    responses: dict[str, Curve]  # by input
    action_responses: dict[str, Curve]  # by level of reward
    versions: Sequence[VersionFindings]  # ascending


def find_out(
    net: ObjectiveNet, version: int, alpha: Tensor, samples: Sequence[AgentSamples], seed: int
) -> Findings:
    """All about one version; `versions` stays empty."""
    objective = Learned(net, alpha)
    explained = Explained(objective.learned)
    generator = torch.Generator().manual_seed(seed)
    environments = list(dict.fromkeys(sample.env for sample in samples))
    features = [name for name in explained.inputs if name != ACTION]

    def by_env(of: Callable[[AgentSamples], Array]) -> dict[str, Array]:
        return {
            env: np.mean([of(sample) for sample in samples if sample.env == env], axis=0)
            for env in environments
        }

    responses = {}
    for column, name in enumerate(features):
        grid = TIMES if name == "time" else DEVIATIONS
        responses[name] = Curve(
            grid,
            by_env(partial(feature_response, objective.learned, column=column, grid=grid)),
        )
    actions = {
        name: Curve(OFFSETS, by_env(partial(action_response, objective.learned, reward=reward)))
        for name, reward in REWARDS.items()
    }
    return Findings(
        version, environments, len(samples),
        [alignment(objective, sample) for sample in samples],
        [(sample.env, explained.sensitivity(sample, generator)) for sample in samples],
        explained.inputs,
        np.mean([explained.reach(sample, generator) for sample in samples], axis=0),
        responses, actions, [],
    )  # fmt: skip


def in_short(
    net: ObjectiveNet,
    versions: Iterator[tuple[int, Tensor]],
    samples: Sequence[AgentSamples],
    seed: int,
) -> list[VersionFindings]:
    """Alignment and sensitivity of several versions on the same minibatches."""
    found = []
    for version, alpha in versions:
        objective = Learned(net, alpha)
        explained = Explained(objective.learned)
        generator = torch.Generator().manual_seed(seed)
        aligned = [alignment(objective, sample).actions for sample in samples]
        heard = [explained.sensitivity(sample, generator) for sample in samples]
        found.append(
            VersionFindings(
                version,
                {rule: float(np.nanmean([a[rule] for a in aligned])) for rule in RULES},
                {name: float(np.mean([h[name] for h in heard])) for name in explained.inputs},
            )
        )
    return found
