"""How the agents of one environment and configuration compute: one protocol.

The round of Algorithm 1 (`metagenrl.agents.round`) decides what is computed and when, and draws
every random number. A backend computes: the policies' actions, the critics' updates, and the
policies' updates with the gradients of alpha.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from metagenrl.agents.experience.replay import Minibatch
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig
from metagenrl.learner.policy_update import Objective
from metagenrl.learner.types import Array

NetworksState = dict[str, Any]
"""Parameters, targets and Adam's moments of one agent, as `ActorCritic.networks_state` has them."""


@dataclass(frozen=True, eq=False)
class Setting:
    """The configuration that the agents of one backend share."""

    agent: AgentConfig
    sizes: tuple[int, int]  # of an observation and an action
    objective: Objective
    meta: MetaConfig | None  # None: the objective stays as it is, there is no meta-gradient

    @property
    def inner_steps(self) -> int:
        """Minibatches that the objective is evaluated on in a policy's update."""
        return self.meta.inner_steps if self.meta else 1

    @property
    def minibatches(self) -> int:
        """That a policy's update draws: one for each inner step, and one that is held out."""
        return self.inner_steps + (self.meta is not None)


class CriticDraw(NamedTuple):
    """The random draws of one agent for an update of its critics."""

    minibatch: Minibatch  # B segments
    noise: Tensor  # [B, T, A], the target policy's smoothing


class PolicyDraw(NamedTuple):
    """The minibatches and weights of one agent for its policy's update and gradient of alpha."""

    minibatch: Minibatch  # (k + 1) B segments: k inner steps and one minibatch that is held out
    objective_weight: float = 1.0  # p: the objective's share of the policy's loss (B.2)
    measured: bool = False  # whether the policy is measured on the way (`learner.measures`)
    noise: Tensor | None = None  # [k B, T, A], of the actions shown (`learner.resampling`)


class CriticStep(Protocol):
    """The numbers of an update of one agent's critics. Reading them may wait for the device."""

    @property
    def td_loss(self) -> float:
        """The temporal-difference loss on the minibatch (Eq. 5)."""
        ...

    @property
    def q(self) -> float:
        """Mean Q_theta1 on the minibatch."""
        ...


@dataclass(frozen=True, eq=False)
class PolicyStep:
    """The gradient and the numbers of an update of one agent's policy."""

    gradient: Array  # g_i [P_alpha], clipped or normalised; empty where there is no meta-gradient
    norm: float  # of the gradient before that
    loss: float  # mean l_t
    policy_norm: float  # of the policy's gradient before its clip; not finite: no step was taken
    value_after: float  # J
    values: Mapping[str, float] = field(default_factory=dict)  # by `Measure.name`, where asked for


class Backend(Protocol):
    """Agents sit in slots `0 .. slots - 1`; a slot's contents depend on no other slot.

    Every mapping goes by slot. Nothing but the slots that a call names is changed by it.
    """

    @property
    def name(self) -> str:
        """The backend's name for people: `native avx512`, `reference cuda`."""
        ...

    @property
    def slots(self) -> int:
        """How many agents there is room for."""
        ...

    def load(self, slot: int, networks: NetworksState) -> None:
        """Put an agent's networks there. Raises where a shape differs."""
        ...

    def networks(self, slot: int) -> NetworksState:
        """A copy of an agent's networks as they are now."""
        ...

    def act(self, observations: Mapping[int, Array]) -> Mapping[int, Array]:
        """pi_phi(s), `[O] -> [A]`, in [-1, 1]."""
        ...

    def update_critics(self, draws: Mapping[int, CriticDraw]) -> Mapping[int, CriticStep]:
        """One Adam step on the TD loss (Eq. 5).

        What is returned for a slot is that slot's last update.
        """
        ...

    def update_policies(
        self, alpha: Array, draws: Mapping[int, PolicyDraw]
    ) -> Mapping[int, PolicyStep]:
        """Policy updates, targets and gradients of `alpha [P_alpha]` (Eq. 6 and 8).

        A policy whose gradient is not finite stays as it was.
        """
        ...
