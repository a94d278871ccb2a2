"""The project's updates on given minibatches, put together as `Member.round` does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.problem import Problem
from metagenrl.agents.backend.actor_critic import ActorCritic
from metagenrl.learner.adam import clip_by_norm
from metagenrl.learner.meta_gradient import meta_gradient
from metagenrl.learner.native import forms, policy_updates, updates
from metagenrl.learner.objective.net import ObjectiveNet, initial_alpha
from metagenrl.learner.policy_update import Learned
from metagenrl.learner.types import Batch


class ProjectAgent:
    """An agent and an objective, both new, in torch's default type."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.problem = problem
        self.alpha = initial_alpha(problem.objective, generator).to(torch.get_default_dtype())
        self.objective = Learned(ObjectiveNet(problem.objective), self.alpha)
        self.actor_critic = ActorCritic(
            problem.agent, problem.observation_size, problem.action_size, generator
        )

    def update_critic(self, batch: Batch) -> None:
        """Section 4; the gradient stays in `actor_critic.theta_gradient`."""
        ac = self.actor_critic
        if not forms.agents(self.problem.agent):
            ac.update_critic(batch)
            return
        noise = ac.draw_noise(tuple(batch.actions.shape))
        gamma = self.problem.agent.gamma
        updates.update_critics(ac.nets, [ac.critic_state], [batch], [noise], gamma)

    @torch.no_grad()
    def update_policy(self, batch: Batch) -> None:
        """Section 5, with the targets; as in Algorithm 2, where nothing else is due."""
        evaluation = self.actor_critic.evaluate(batch)
        self.actor_critic.update_policy(evaluation, self.objective(evaluation))
        self.actor_critic.update_targets()

    @torch.no_grad()
    def meta_gradient(self, inner: Batch, held_out: Batch) -> Tensor:
        """Eq. 6 before the clip, `[P_alpha]`.

        Leaves the policy's gradient of the *summed* objective in `actor_critic.phi_gradient`.
        """
        ac = self.actor_critic
        evaluation = ac.evaluate(inner)
        value = self.objective(evaluation)
        evaluation.policy_gradient(value.action_gradient, ac.phi_gradient_views)
        gradient, _ = meta_gradient(
            self.problem.meta, self.objective, value, evaluation,
            ac.phi, ac.phi_gradient, [held_out],
        )  # fmt: skip
        return gradient

    def objective_gradient(self, inner: Batch, held_out: Batch) -> Tensor:
        """Section 6, clipped: what an agent sends, `[P_alpha]`."""
        gradient = self.meta_gradient(inner, held_out)
        clip_by_norm(gradient, self.problem.meta.gradient_clip)
        return gradient

    @torch.no_grad()
    def update_policy_and_objective(self, inner: Batch, held_out: Batch) -> Tensor:
        """Both from one evaluation of the policy on `inner`; the objective's gradient."""
        p, ac, net = self.problem, self.actor_critic, self.objective.learned.net
        whole = forms.policy_updates(p.meta, p.objective)
        if whole and forms.agents(p.agent):
            given = ac.nets, net, self.alpha, p.agent, p.meta, [ac.policy_state]
            batches, taken = [(inner, held_out)], [None]
            found = policy_updates.update_policies(*given, batches, taken, [1.0])
            return found[0].gradient
        gradient = self.objective_gradient(inner, held_out)
        self.actor_critic.phi_gradient.div_(inner.mask.sum().clamp_(min=1))
        self.actor_critic.apply_policy_gradient()
        self.actor_critic.update_targets()
        return gradient

    def learn(self, batches: Sequence[Batch]) -> Tensor:
        """What `policy_delay` agent-steps learn: a minibatch each, then the last two."""
        for batch in batches[: self.problem.agent.policy_delay]:
            self.update_critic(batch)
        return self.update_policy_and_objective(*batches[-2:])
