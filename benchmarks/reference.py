"""The same updates in plain PyTorch, written the obvious way.

`torch.nn` modules, autograd, `torch.optim.Adam`; Eq. 6 by double backward through the policy's
update. The policy's and the objective's update take minibatches of their own and evaluate what
they need themselves. Nothing is computed that the method does not ask for: gradients are taken
with respect to the parameters that are updated, and no graph is built where none is needed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.problem import Problem
from benchmarks.reference_networks import Critic, PlainObjective, Policy
from metagenrl.learner.types import Array, Batch


class PlainAgent:
    """Policy, twin critics, targets, optimisers and an objective, in torch's default type."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        agent = problem.agent
        sizes = (problem.observation_size, problem.action_size)
        shape = (*sizes, agent.hidden_units, agent.hidden_layers)
        self.problem = problem
        self.generator = torch.Generator().manual_seed(seed)
        self.policy = Policy(*shape)
        self.critics = nn.ModuleList([Critic(*shape), Critic(*shape)])
        self.target_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.objective = PlainObjective(problem.objective)
        self.policy_optimizer = torch.optim.Adam(
            self.policy.parameters(), agent.policy_learning_rate
        )
        self.critic_optimizer = torch.optim.Adam(
            self.critics.parameters(), agent.critic_learning_rate
        )

    @torch.no_grad()
    def act(self, observation: Array) -> Array:
        """pi_phi(s) for one observation: `[O] -> [A]`."""
        action: Array = self.policy(torch.from_numpy(np.asarray(observation, np.float32))).numpy()
        return action

    def update_critic(self, batch: Batch) -> None:
        """One Adam step on the TD loss (Eq. 5)."""
        agent = self.problem.agent
        with torch.no_grad():
            noise = torch.randn(batch.actions.shape, generator=self.generator) * agent.target_noise
            noise = noise.clamp(-agent.target_noise_clip, agent.target_noise_clip)
            s_next = batch.observations[:, 1:]
            a_next = (self.target_policy(s_next) + noise).clamp(-1, 1)
            q_next = torch.min(*(critic(s_next, a_next) for critic in self.target_critics))
            y = batch.rewards + agent.gamma * (1 - batch.terminated) * q_next
        s = batch.observations[:, :-1]
        errors = [(critic(s, batch.actions) - y).square() for critic in self.critics]
        loss = (sum(errors) * batch.mask).sum() / batch.mask.sum()
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()

    def objective_loss(self, batch: Batch) -> Tensor:
        """L_alpha, the sum of l_t over valid steps: `[]`, differentiable in phi and alpha."""
        s, s_next = batch.observations[:, :-1], batch.observations[:, 1:]
        pi = self.policy(s)
        with torch.no_grad():
            v = self.critics[0](s, pi)
            v_next = self.critics[0](s_next, self.policy(s_next))
        return self.objective(pi, v, v_next, batch).sum()

    def policy_gradient(self, batch: Batch) -> None:
        """grad_phi of the mean of l_t, into `.grad`."""
        loss = self.objective_loss(batch) / batch.mask.sum()
        self.policy_optimizer.zero_grad()
        loss.backward(inputs=list(self.policy.parameters()))

    def update_policy(self, batch: Batch) -> None:
        """One Adam step along the objective's clipped gradient, then the targets (section 5)."""
        agent = self.problem.agent
        self.policy_gradient(batch)
        nn.utils.clip_grad_norm_(self.policy.parameters(), agent.policy_gradient_clip)
        self.policy_optimizer.step()
        with torch.no_grad():
            for network, target in (
                (self.policy, self.target_policy),
                (self.critics, self.target_critics),
            ):
                for p, p_target in zip(network.parameters(), target.parameters(), strict=True):
                    p_target.lerp_(p, agent.polyak)

    def meta_gradient(self, inner: Batch, held_out: Batch) -> list[Tensor]:
        """Eq. 6 by double backward, before the clip; one tensor per parameter of alpha."""
        phi = dict(self.policy.named_parameters())
        loss = self.objective_loss(inner)
        gradients = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
        step = self.problem.meta.inner_step_size
        updated = {name: p - step * g for (name, p), g in zip(phi.items(), gradients, strict=True)}
        total = torch.zeros(())
        for batch in (inner, held_out):
            s = batch.observations[:, :-1]
            q = self.critics[0](s, functional_call(self.policy, updated, (s,)))
            total = total + (q * batch.mask).sum()
        j = total / (inner.mask.sum() + held_out.mask.sum())
        alpha = [p for p in self.objective.parameters() if p.requires_grad]
        return list(torch.autograd.grad(-j, alpha))

    def objective_gradient(self, inner: Batch, held_out: Batch) -> Tensor:
        """What an agent sends, clipped and flat: `[P_alpha]`."""
        gradient = torch.cat([g.flatten() for g in self.meta_gradient(inner, held_out)])
        clip = self.problem.meta.gradient_clip
        return gradient * min(1.0, clip / float(gradient.norm()))

    def update_policy_and_objective(self, own: Batch, inner: Batch, held_out: Batch) -> Tensor:
        """Both from the same policy, the policy's update on a minibatch of its own."""
        gradient = self.objective_gradient(inner, held_out)
        self.update_policy(own)
        return gradient

    def learn(self, batches: Sequence[Batch]) -> Tensor:
        """What `policy_delay` agent-steps learn: a minibatch each, then the last three."""
        for batch in batches[: self.problem.agent.policy_delay]:
            self.update_critic(batch)
        return self.update_policy_and_objective(*batches[-3:])
