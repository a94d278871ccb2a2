"""Learned and hand-made objectives behind one interface: an agent does not know which trains it.

An objective maps an evaluated policy to a loss per step and to the derivative of the summed loss
with respect to the policy's actions. Everything else about a policy update is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from metagenrl.learner import ops
from metagenrl.learner.objective.derivatives import ObjectiveTape
from metagenrl.learner.objective.features import normalize_advantage
from metagenrl.learner.objective.inputs import Evaluated
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.returns import generalized_advantage


@dataclass(frozen=True)
class ObjectiveValue:
    """An objective on one minibatch."""

    loss: Tensor  # [B, T], l_t, 0 on padding
    action_gradient: Tensor  # [B, T, A], d (sum_t l_t) / d pi
    tape: ObjectiveTape | None = None  # the learned objective's, for the meta-gradient


class Evaluation(Evaluated, Protocol):
    """An evaluated policy, of one agent or of K along a leading axis."""

    pi: Tensor  # [..., B, T, A]


class Objective(Protocol):
    """The rule that trains a policy: a loss for each of its actions."""

    @property
    def resample_noise(self) -> float:
        """Of the actions that it is shown; 0: the taken ones (see `resampling`)."""
        ...

    def __call__(self, evaluation: Evaluation) -> ObjectiveValue:
        """Loss and its derivative with respect to the actions of the evaluated policy."""
        ...


class Learned:
    """The learned objective L_alpha (Eq. 7)."""

    def __init__(self, net: ObjectiveNet, alpha: Tensor) -> None:
        self.learned = ops.learned_objective(net, alpha)
        self.resample_noise = net.config.resample_noise

    def __call__(self, evaluation: Evaluation) -> ObjectiveValue:
        """L_alpha with r, V_t, V_{t+1}, t, a_t as constants."""
        tape = self.learned.forward(evaluation.pi, self.learned.inputs(evaluation))
        return ObjectiveValue(tape.loss, self.learned.action_gradient(tape), tape)


@dataclass(frozen=True)
class CriticObjective:
    """l_t = -Q_theta1(s_t, pi_phi(s_t)): DDPG and TD3 (section 9)."""

    resample_noise: ClassVar[float] = 0.0

    def __call__(self, evaluation: Evaluation) -> ObjectiveValue:
        """The deterministic policy gradient's loss."""
        mask = evaluation.batch.mask
        gradient = -evaluation.action_value_gradient * mask.unsqueeze(-1)
        return ObjectiveValue(-evaluation.v * mask, gradient)


@dataclass(frozen=True)
class Reinforce:
    """l_t = mean_A (a_t - pi_phi(s_t))^2 A_t, GAE from the critic's values (section 9)."""

    gamma: float
    gae_lambda: float
    resample_noise: ClassVar[float] = 0.0

    def __call__(self, evaluation: Evaluation) -> ObjectiveValue:
        """Off-policy REINFORCE on segments of the replay buffer."""
        batch = evaluation.batch
        advantage = generalized_advantage(
            batch.rewards, evaluation.v, evaluation.v_next, batch.terminated, batch.mask,
            self.gamma, self.gae_lambda,
        )  # fmt: skip
        return reinforce(evaluation.pi, batch.actions, advantage)


@dataclass(frozen=True)
class ReinforceByCritic:
    """l_t = mean_A (a_t - pi_phi(s_t))^2 A_t with A_t = Q_theta1(s_t, a_t) - V_t over its rms.

    The hand-made rule nearest to an L_alpha that is fed this advantage (section 12): what such an
    objective does better, it has learned. Of one agent alone, since the rms is over all segments.
    """

    resample_noise: float = 0.0

    def __call__(self, evaluation: Evaluation) -> ObjectiveValue:
        """Towards actions that the critic finds better than the policy's, away from others."""
        batch = evaluation.batch
        q = evaluation.value_of(batch.actions)
        return reinforce(
            evaluation.pi, batch.actions, normalize_advantage(q, evaluation.v, batch.mask)
        )


def reinforce(pi: Tensor, actions: Tensor, advantage: Tensor) -> ObjectiveValue:
    """mean_A (a - pi)^2 A and its derivative 2 / A_dim (pi - a) A: `[B, T, A], [B, T]`."""
    difference = pi - actions
    loss = difference.square().mean(-1) * advantage
    return ObjectiveValue(loss, difference * advantage.unsqueeze(-1) * (2 / pi.shape[-1]))


def anneal(p: float, learned: ObjectiveValue, evaluation: Evaluation) -> ObjectiveValue:
    """p l_t - (1 - p) Q_theta1(s_t, pi_phi(s_t)), the start of meta-training (B.2).

    With `p = 1` the critic's term is not computed at all.
    """
    if p >= 1:
        return learned
    critic = CriticObjective()(evaluation)
    return ObjectiveValue(
        p * learned.loss + (1 - p) * critic.loss,
        torch.lerp(critic.action_gradient, learned.action_gradient, p),
        learned.tape,
    )


def annealing(step: int, anneal_steps: int) -> float:
    """p at environment step `step`: linear from 0 to 1 over `anneal_steps` (B.2)."""
    return 1.0 if anneal_steps <= 0 else min(1.0, step / anneal_steps)
