"""What a round of one or several members leads to, as plain data."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from metagenrl.agents.backend.interface import CriticStep
from metagenrl.agents.experience.rollout import Episode
from metagenrl.base.checks import brief
from metagenrl.base.messages import AlphaGradient, CohortGradient, GradientShare
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig


@dataclass(frozen=True)
class MemberConfig:
    """The configuration of one member; equal for all members but for the first four fields."""

    run: str
    seed: int
    index: int
    env_id: str
    first_life: int  # steps of the first life, 0: endless (see `first_life`)
    agent: AgentConfig
    meta: MetaConfig
    objective: ObjectiveConfig


@dataclass(frozen=True)
class MemberReport:
    """One round of one member."""

    agent: int
    env_id: str
    incarnation: int
    steps: int  # over all lives
    life: int
    life_steps: int
    gradient: AlphaGradient | GradientShare | None  # None while the buffer fills
    episodes: tuple[Episode, ...]
    q: float  # mean Q_theta1 on the critic's last minibatch
    td_loss: float
    objective_loss: float  # mean l_t
    policy_gradient_norm: float
    value_after: float  # J, the critic's value of the updated policy
    origin: int | None = None  # step of the policy that this life began with; None: a new one
    backend: str = ""  # what computed it, see `Backend.name`
    values: Mapping[str, float] = field(default_factory=dict)  # by `Measure.name`
    drawn: str | None = None  # the environment with what its ranges gave this life; None: none


def first_life(lifetime: int, index: int, environments: int, agents: int, stagger: bool) -> int:
    """Steps of agent `index`'s first life: L/2 ... 3L/2, evenly over an environment's agents.

    Later lives take `lifetime` steps, so that at any time the agents of each environment are of
    all ages and alpha meets every stage of learning (section 11).
    """
    if not lifetime or not stagger:
        return lifetime
    rank, peers = index // environments, -(-agents // environments)
    return max(1, lifetime // 2 + (lifetime * rank) // peers)


class CriticNumbers(NamedTuple):
    """See `CriticStep`; out of a saved state."""

    td_loss: float
    q: float


@dataclass(frozen=True)
class Preparation:
    """The result of a round's alpha-free part, apart from the changes to the member itself."""

    episodes: tuple[Episode, ...]  # that ended
    critic: CriticStep | None  # the last update's; None: the buffer fills

    def state_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "episodes": [[e.undiscounted_return, e.length] for e in self.episodes],
            "critic": None if self.critic is None else [self.critic.td_loss, self.critic.q],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Preparation:
        """Undo `state_dict`."""
        episodes = tuple(Episode(float(r), int(length)) for r, length in state["episodes"])
        critic = state["critic"]
        return cls(episodes, None if critic is None else CriticNumbers(*map(float, critic)))


def trace_of(error: Exception) -> str:
    """The traceback of an error that was caught before."""
    return "".join(traceback.format_exception(error))


@dataclass(frozen=True)
class Failure:
    """A member that raised, and is gone; the others of its cohort go on."""

    agent: int
    reason: str  # one line
    detail: str  # the original traceback

    @staticmethod
    def of(agent: int, error: Exception) -> Failure:
        """`error`, as the agent raised it."""
        return Failure(agent, brief(error, 400), trace_of(error))


@dataclass(frozen=True)
class CohortReport:
    """One round of some members; `MemberReport.gradient` is each one's share of `gradient`."""

    reports: tuple[MemberReport, ...]
    failures: tuple[Failure, ...]
    gradient: CohortGradient | None  # None while every buffer fills
