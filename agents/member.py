"""One member of the population: the inner body of Algorithm 1, with lifetimes.

A round is `policy_delay` environment steps with a critic update each, which can be done ahead,
then one policy update by the objective that was broadcast, and this agent's gradient of that
objective.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metagenrl.agents.backend.native import require_finite
from metagenrl.agents.individual import Individual
from metagenrl.agents.preparation import Preparation
from metagenrl.agents.reports import Learning, MemberConfig, MemberReport, first_life
from metagenrl.agents.round import play, prepare
from metagenrl.learner.adam import clip_by_norm, scale_to_norm
from metagenrl.learner.meta_gradient import meta_gradient, meta_gradient_by_autograd
from metagenrl.learner.native import policy_updates
from metagenrl.learner.native.policy_updates import PolicyStep
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.policy_update import Learned, ObjectiveValue, anneal
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.types import Array, Batch

__all__ = ["Member", "MemberConfig", "MemberReport", "first_life"]


class Member(Individual):
    """An individual that computes its own updates; `round` is Algorithm 1's body."""

    def __init__(self, config: MemberConfig, incarnation: int = 0) -> None:
        super().__init__(config, incarnation)
        self._failure: Exception | None = None  # of `prepare`
        self.net = ObjectiveNet(config.objective)
        self._alpha = torch.zeros(self.net.layout.size)
        self._objective = Learned(self.net, self._alpha)

    def prepare(self) -> None:
        """See `rounds.prepare`."""
        prepare([self])

    def round(self, alpha: Array, version: int, round_index: int) -> MemberReport:
        """Run one round with the objective `alpha [P]` of `version`."""
        result = play([self], alpha, version, round_index)[0]
        if isinstance(result, Exception):
            raise result
        return result

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

    def take_preparation(self) -> Preparation:
        """What was prepared. Raises what `prepare` met with."""
        self._raise_failure()
        prepared = super().take_preparation()
        assert prepared is not None, "a round's preparation comes first"
        return prepared

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def report_round(
        self,
        critic: tuple[float, float] | None,
        step: PolicyStep | None,
        version: int,
        round_index: int,
    ) -> MemberReport:
        """The end of a round; None for what has not learned because the buffer fills."""
        if critic is None or step is None:
            return self.report(None, version, round_index)
        require_finite(step.policy_norm)
        self.archive_policy(self.actor_critic.networks_state)
        td_loss, q = critic
        learning = Learning(
            step.gradient.numpy(), step.norm, q, td_loss, step.loss, step.policy_norm,
            step.value_after,
        )  # fmt: skip
        return self.report(learning, version, round_index)

    def policy_batches(self) -> tuple[Batch, ...]:
        """Minibatches of the inner steps, and one that is held out."""
        count = self.config.meta.inner_steps + 1
        return self.rollout.sample(self.config.agent.batch_size * count).split(count)

    def updates_fused(self, alpha: Tensor) -> bool:
        """Whether `policy_updates.update_policies` does this member's update."""
        meta = self.config.meta
        if self.objective_weight < 1 or meta.inner_steps > 1 or meta.outer_loss != "value":
            return False
        ac = self.actor_critic
        return policy_updates.takes(ac.nets, self.net, ac.phi_views, alpha)

    def state_dict(self) -> dict[str, Any]:
        """See `Individual`. Raises what `prepare` met with."""
        self._raise_failure()
        return super().state_dict()

    def load_state_dict(self, state: dict[str, Any], incarnation: int | None = None) -> None:
        """See `Individual`."""
        super().load_state_dict(state, incarnation)
        self._failure = None

    @torch.no_grad()
    def update_policy(self, alpha: Tensor) -> PolicyStep:
        """Policy update and meta-gradient on the same minibatches; both start from phi."""
        meta, ac = self.config.meta, self.actor_critic
        self._alpha.copy_(alpha)
        batches = self.policy_batches()
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
        return PolicyStep(g, norm, loss, policy_norm, float(j))

    def _meta_gradient(
        self, evaluation: PolicyEvaluation, value: ObjectiveValue, batches: tuple[Batch, ...]
    ) -> tuple[Tensor, Tensor]:
        ac, meta = self.actor_critic, self.config.meta
        if meta.inner_steps == 1:
            return meta_gradient(
                meta, self._objective.learned, value, evaluation, ac.phi, ac.phi_gradient,
                ac.theta_views, batches[1],
            )  # fmt: skip
        return meta_gradient_by_autograd(
            meta, self.net, ac.nets, self._alpha, ac.phi, ac.theta_views, batches
        )
