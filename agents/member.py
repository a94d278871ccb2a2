"""One member of the population: the inner body of Algorithm 1, with lifetimes.

A round is `policy_delay` environment steps with a critic update each, which can be done ahead,
then one policy update by the objective that was broadcast, and this agent's gradient of that
objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from metagenrl.agents.individual import (
    Individual,
    Learning,
    MemberConfig,
    MemberReport,
    first_life,
)
from metagenrl.agents.lockstep import Lockstep
from metagenrl.agents.preparation import Preparation
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
        self._failure: Exception | None = None  # of `prepare`
        net = ObjectiveNet(config.objective)
        self._alpha = torch.zeros(net.layout.size)
        self._objective = Learned(net, self._alpha)

    def prepare(self) -> None:
        """See `prepare`."""
        prepare([self])

    def round(self, alpha: Array, version: int, round_index: int) -> MemberReport:
        """Run one round with the objective `alpha [P]` of `version`."""
        self.begin_round()
        self.prepare()
        return self.finish(alpha, version, round_index)

    def finish(self, alpha: Array, version: int, round_index: int) -> MemberReport:
        """The last part of `round`; `begin_round` and `prepare` come before."""
        self._raise_failure()
        prepared = self.take_preparation()
        assert prepared is not None, "prepare comes first"
        self._alpha.copy_(torch.from_numpy(np.array(alpha, np.float32)))
        learning = None
        if prepared.critic is not None:
            learning = self._update(*prepared.critic)
            self.archive_policy(self.actor_critic.networks_state)
        return self.report(learning, version, round_index)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    @property
    def may_go_ahead(self) -> bool:
        """Whether the next alpha-free part has not been done, and belongs to the present life."""
        return self._prepared is None and self._failure is None and not self.life_is_over

    def take_result(self, result: Preparation | Exception) -> None:
        """Keep what `prepare` led to."""
        if isinstance(result, Exception):
            self._failure = result
        else:
            self._prepared = result

    def state_dict(self) -> dict[str, Any]:
        """See `Individual`. Raises what `prepare` met with."""
        self._raise_failure()
        return super().state_dict()

    def load_state_dict(self, state: dict[str, Any], incarnation: int | None = None) -> None:
        """See `Individual`."""
        super().load_state_dict(state, incarnation)
        self._failure = None

    @torch.no_grad()
    def _update(self, td_loss: float, q: float) -> Learning:
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


def prepare(members: Sequence[Member]) -> None:
    """Do now what the next `round` of each can do without alpha; that gives the same rounds.

    Nothing where the next round begins a life: who is saved or leaves now is still in its present
    one. What goes wrong here is raised by the next `round` or `state_dict`, since nobody waits for
    this.
    """
    members = [member for member in members if member.may_go_ahead]
    if not members:
        return
    results: Sequence[Preparation | Exception]
    try:
        results = Lockstep(members).run()
    except Exception as error:
        results = [error] * len(members)
    for member, result in zip(members, results, strict=True):
        member.take_result(result)
