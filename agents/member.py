"""One member of the population: the inner body of Algorithm 1, with lifetimes.

A round is `policy_delay` environment steps with a critic update each, then one policy update by
the objective that was broadcast, and this agent's gradient of that objective.
"""

from __future__ import annotations

import numpy as np
import torch
from metagenrl.agents.actor_critic import CriticStep
from metagenrl.agents.individual import (
    Individual,
    Learning,
    MemberConfig,
    MemberReport,
    first_life,
)
from metagenrl.learner.adam import clip_by_norm, scale_to_norm
from metagenrl.learner.evaluation import PolicyEvaluation
from metagenrl.learner.meta_gradient import meta_gradient, meta_gradient_by_autograd
from metagenrl.learner.objective_net import ObjectiveNet
from metagenrl.learner.objectives import Learned, ObjectiveValue, anneal
from metagenrl.learner.types import Array, Batch
from torch import Tensor

__all__ = ["Member", "MemberConfig", "MemberReport", "first_life"]


class Member(Individual):
    """An individual that computes its own updates; `round` is Algorithm 1's body."""

    def __init__(self, config: MemberConfig, incarnation: int = 0) -> None:
        super().__init__(config, incarnation)
        net = ObjectiveNet(config.objective)
        self._alpha = torch.zeros(net.layout.size)
        self._objective = Learned(net, self._alpha)

    def round(self, alpha: Array, version: int, round_index: int) -> MemberReport:
        """Run one round with the objective `alpha [P]` of `version`."""
        self.begin_round()
        self._alpha.copy_(torch.from_numpy(np.array(alpha, np.float32)))
        critic = None
        for _ in range(self.config.agent.policy_delay):
            self.take_step(self.actor_critic.act)
            if self.ready:
                batch = self.rollout.sample(self.config.agent.batch_size).batch()
                critic = self.actor_critic.update_critic(batch)
        learning = None
        if critic is not None:
            learning = self._update(critic)
            self.archive_policy(self.actor_critic.networks_state)
        return self.report(learning, version, round_index)

    @torch.no_grad()
    def _update(self, critic: CriticStep) -> Learning:
        """Policy update and meta-gradient on the same minibatches; both start from phi."""
        meta, ac = self.config.meta, self.actor_critic
        size = self.config.agent.batch_size * (meta.inner_steps + 1)
        batches = self.rollout.sample(size).split(meta.inner_steps + 1)
        evaluation = ac.evaluate(batches[0])
        value = self._objective(evaluation)
        evaluation.policy_gradient(value.action_gradient, ac.phi_gradient_views)
        g, j = self._meta_gradient(evaluation, value, batches)
        scale = scale_to_norm if meta.gradient_scaling == "normalize" else clip_by_norm
        norm = scale(g, meta.gradient_clip)
        p = self.objective_weight
        valid = evaluation.batch.mask.sum().clamp_(min=1)
        if p < 1 or self.config.agent.action_penalty:
            policy_norm = ac.update_policy(evaluation, anneal(p, value, evaluation))
        else:  # the gradient that the inner step took is the policy's, up to the mean
            ac.phi_gradient.div_(valid)
            policy_norm = ac.apply_policy_gradient()
        ac.update_targets()
        loss = float(value.loss.sum() / valid)
        q, td_loss = float(critic.q), float(critic.td_loss)
        return Learning(g.numpy(), norm, q, td_loss, loss, policy_norm, float(j))

    def _meta_gradient(
        self, evaluation: PolicyEvaluation, value: ObjectiveValue, batches: tuple[Batch, ...]
    ) -> tuple[Tensor, Tensor]:
        ac, meta = self.actor_critic, self.config.meta
        if meta.inner_steps == 1:
            assert value.tape is not None
            return meta_gradient(
                meta, self._objective.learned, value.tape, evaluation, ac.phi, ac.phi_gradient,
                ac.theta_views, batches[1],
            )  # fmt: skip
        return meta_gradient_by_autograd(
            meta, self._objective.learned.net, ac.nets, self._alpha, ac.phi, ac.theta_views, batches
        )
