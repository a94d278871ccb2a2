"""One member of the population: the inner body of Algorithm 1, with lifetimes.

A round is `policy_delay` environment steps with a critic update each, which can be done ahead,
then one policy update by the objective that was broadcast, and this agent's gradient of that
objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from metagenrl.agents.actor_critic import ActorCritic
from metagenrl.agents.policy_archive import PER_LIFE, PolicyArchive
from metagenrl.agents.preparation import Preparation
from metagenrl.agents.rollout import Episode, Rollout
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.adam import clip_by_norm, scale_to_norm
from metagenrl.learner.evaluation import PolicyEvaluation
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.messages import GradientShare
from metagenrl.learner.meta_gradient import meta_gradient, meta_gradient_by_autograd
from metagenrl.learner.objective_net import ObjectiveNet
from metagenrl.learner.objectives import Learned, ObjectiveValue, anneal, annealing
from metagenrl.learner.types import AlphaGradient, Array, Batch
from torch import Tensor


@dataclass(frozen=True)
class MemberConfig:
    """What one member needs to know; equal for all members but for the first four fields."""

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


def first_life(lifetime: int, index: int, environments: int, agents: int, stagger: bool) -> int:
    """Steps of agent `index`'s first life: L/2 ... 3L/2, evenly over an environment's agents.

    Later lives take `lifetime` steps, so that at any time the agents of each environment are of
    all ages and alpha meets every stage of learning (section 11).
    """
    if not lifetime or not stagger:
        return lifetime
    rank, peers = index // environments, -(-agents // environments)
    return max(1, lifetime // 2 + (lifetime * rank) // peers)


class Member:
    """An agent with its environment, critics, policy and buffer; `round` is Algorithm 1's body."""

    def __init__(self, config: MemberConfig, incarnation: int = 0) -> None:
        self.config, self.incarnation = config, incarnation
        seeds = agent_seeds(config.seed, config.index, incarnation)
        self.rollout = Rollout(config.env_id, config.agent, seeds)
        self.generator = torch.Generator().manual_seed(seeds.torch_seed)
        self.actor_critic = self._newborn()
        self.steps, self.life, self.life_length = 0, 0, config.first_life
        self.archive = PolicyArchive(config.meta.archive_size, seeds.archive)
        self.origin: int | None = None  # step of the policy that this life began with
        self._prepared: Preparation | None = None  # of the next round
        self._failure: Exception | None = None  # of `prepare`
        net = ObjectiveNet(config.objective)
        self._alpha = torch.zeros(net.layout.size)
        self._objective = Learned(net, self._alpha)

    def _newborn(self) -> ActorCritic:
        environment = self.rollout.environment
        return ActorCritic(
            self.config.agent,
            environment.observation_size,
            environment.action_size,
            self.generator,
        )

    def prepare(self) -> None:
        """Do now what the next `round` can do without alpha; that gives the same round.

        Nothing where the next round begins a life: who is saved or leaves now is still in its
        present one. What goes wrong here is raised by the next `round` or `state_dict`, since
        nobody waits for this.
        """
        if self._prepared is not None or self._failure is not None or self._life_is_over():
            return
        try:
            self._prepared = self._prepare()
        except Exception as error:
            self._failure = error

    def round(self, alpha: Array, version: int, round_index: int) -> MemberReport:
        """Run one round with the objective `alpha [P]` of `version`."""
        prepared = self._take_preparation()
        self.steps += self.config.agent.policy_delay
        self._alpha.copy_(torch.from_numpy(np.array(alpha, np.float32)))
        nan = float("nan")
        gradient, update = None, _Update(nan, nan, nan)
        td_loss, q = prepared.critic or (nan, nan)
        if prepared.critic is not None:
            vector, norm, update = self._update()
            self._archive()
            gradient = AlphaGradient(
                self.config.run, self.config.index, self.incarnation, round_index, version,
                vector, norm, self.config.env_id,
            )  # fmt: skip
        return MemberReport(
            self.config.index, self.config.env_id, self.incarnation, self.steps, self.life,
            self.rollout.life_steps, gradient, prepared.episodes, q, td_loss,
            update.loss, update.policy_gradient_norm, update.value_after, self.origin,
        )  # fmt: skip

    def _life_is_over(self) -> bool:
        return bool(self.life_length) and self.rollout.life_steps >= self.life_length

    def _take_preparation(self) -> Preparation:
        """Of the round that begins: made ahead, or now."""
        if self._failure is not None:
            raise self._failure
        if self._prepared is None:
            if self._life_is_over():
                self._rebirth()
            return self._prepare()
        prepared, self._prepared = self._prepared, None
        return prepared

    def _prepare(self) -> Preparation:
        episodes, critic = [], None
        for _ in range(self.config.agent.policy_delay):
            episode = self.rollout.step(self.actor_critic.act)
            if episode is not None:
                episodes.append(episode)
            if self._ready():
                batch = self.rollout.sample(self.config.agent.batch_size).batch()
                critic = self.actor_critic.update_critic(batch)
        numbers = None if critic is None else (float(critic.td_loss), float(critic.q))
        return Preparation(tuple(episodes), numbers)

    def _ready(self) -> bool:
        agent, meta = self.config.agent, self.config.meta
        needed = max(agent.learning_starts, (meta.inner_steps + 1) * agent.batch_size)
        return len(self.rollout.buffer) >= needed

    def _archive(self) -> None:
        """Offer the policy to the archive, `PER_LIFE` times in a life of the usual length."""
        meta, age = self.config.meta, self.rollout.life_steps
        every = max(1, meta.lifetime // PER_LIFE)
        if meta.older_policies and age // every > (age - self.config.agent.policy_delay) // every:
            self.archive.offer(self.steps, self.actor_critic.networks_state)

    def _rebirth(self) -> None:
        """Networks, optimisers, targets and buffer anew, or the networks from the archive.

        An earlier policy acts itself from the first step on. The random streams go on.
        """
        meta = self.config.meta
        earlier = self.archive.draw(meta.older_policies) if meta.older_policies else None
        self.life += 1
        self.life_length = meta.lifetime
        self.rollout.restart(meta.lifetime_random_steps if earlier is None else 0)
        self.actor_critic = self._newborn()
        self.origin = None
        if earlier is not None:
            self.actor_critic.load_networks_state(earlier.state)
            self.origin = earlier.steps

    @torch.no_grad()
    def _update(self) -> tuple[Array, float, _Update]:
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
        p = 1.0 if self.life else annealing(self.rollout.life_steps, meta.anneal_steps)
        valid = evaluation.batch.mask.sum().clamp_(min=1)
        if p < 1 or self.config.agent.action_penalty:
            policy_norm = ac.update_policy(evaluation, anneal(p, value, evaluation))
        else:  # the gradient that the inner step took is the policy's, up to the mean
            ac.phi_gradient.div_(valid)
            policy_norm = ac.apply_policy_gradient()
        ac.update_targets()
        loss = float(value.loss.sum() / valid)
        return g.numpy(), norm, _Update(loss, policy_norm, float(j))

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

    def close(self) -> None:
        """Free the environment."""
        self.rollout.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything: restoring it gives the same future. Raises what `prepare` met with."""
        if self._failure is not None:
            raise self._failure
        state = {
            "actor_critic": self.actor_critic.state_dict(),
            "rollout": self.rollout.state_dict(),
            "incarnation": self.incarnation,
            "steps": self.steps,
            "life": self.life,
            "life_length": self.life_length,
            "prepared": None if self._prepared is None else self._prepared.state_dict(),
        }
        if self.config.meta.older_policies:
            state |= {"archive": self.archive.state_dict(), "origin": self.origin}
        return state

    def load_state_dict(self, state: dict[str, Any], incarnation: int | None = None) -> None:
        """Restore; a process that took over from a dead one passes its own incarnation."""
        self.actor_critic.load_state_dict(state["actor_critic"])
        self.rollout.load_state_dict(state["rollout"])
        self.incarnation = int(state["incarnation"]) if incarnation is None else incarnation
        self.steps, self.life = int(state["steps"]), int(state["life"])
        self.life_length = int(state["life_length"])
        prepared = state.get("prepared")  # not there in older checkpoints
        self._prepared = None if prepared is None else Preparation.from_state(prepared)
        self._failure = None
        if self.config.meta.older_policies:
            self.archive.load_state_dict(state["archive"])
            self.origin = state["origin"]


@dataclass(frozen=True)
class _Update:
    loss: float
    policy_gradient_norm: float
    value_after: float
