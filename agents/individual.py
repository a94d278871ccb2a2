"""What a member of the population is apart from how it learns: experience, lives, state.

A member that computes alone and one whose updates are computed together with others' are the same
individual: the same random streams, counters, archive and saved state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from metagenrl.agents.backend.native import ActorCritic
from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.policy_archive import PER_LIFE, PolicyArchive
from metagenrl.agents.preparation import Preparation
from metagenrl.agents.experience.rollout import EnvironmentMaker, Episode, Rollout
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.base.messages import GradientShare
from metagenrl.learner.policy_update import annealing
from metagenrl.learner.types import AlphaGradient, Array


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


@dataclass(frozen=True, eq=False)
class Learning:
    """What one round's updates found."""

    gradient: Array  # [P_alpha], clipped or normalised
    norm: float  # before that
    q: float  # as in `MemberReport`
    td_loss: float
    objective_loss: float
    policy_gradient_norm: float
    value_after: float


_NOTHING = Learning(np.empty(0, np.float32), *[float("nan")] * 6)


class Individual:
    """An agent with its environment, buffer, streams and lives.

    `actor_critic` holds the networks, or is where they go to be saved and come from to be loaded.
    """

    def __init__(
        self,
        config: MemberConfig,
        incarnation: int = 0,
        make_environment: EnvironmentMaker = Environment,
    ) -> None:
        self.config, self.incarnation = config, incarnation
        seeds = agent_seeds(config.seed, config.index, incarnation)
        self.rollout = Rollout(config.env_id, config.agent, seeds, make_environment)
        self.generator = torch.Generator().manual_seed(seeds.torch_seed)
        self.actor_critic = self._newborn()
        self.steps, self.life, self.life_length = 0, 0, config.first_life
        self.archive = PolicyArchive(config.meta.archive_size, seeds.archive)
        self.origin: int | None = None  # step of the policy that this life began with
        self.episodes: tuple[Episode, ...] = ()  # that ended in the round
        self._prepared: Preparation | None = None  # of the next round

    def _newborn(self) -> ActorCritic:
        environment = self.rollout.environment
        return ActorCritic(
            self.config.agent,
            environment.observation_size,
            environment.action_size,
            self.generator,
        )

    def begin_round(self) -> bool:
        """Begin a new life where the last one is over; whether one began."""
        self.steps += self.config.agent.policy_delay
        self.episodes = ()
        over = self._prepared is None and self.life_is_over
        if over:
            self._rebirth()
        return over

    @property
    def life_is_over(self) -> bool:
        """Whether the next step is a new life's first one."""
        return 0 < self.life_length <= self.rollout.life_steps

    def take_preparation(self) -> Preparation | None:
        """What was done ahead of the round that has begun; its steps are taken."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self.episodes = prepared.episodes
        return prepared

    def take_step(self, policy: Callable[[Array], Array]) -> None:
        """One environment step; raises as `Rollout.step` does."""
        episode = self.rollout.step(policy)
        if episode is not None:
            self.episodes += (episode,)

    def report(self, learning: Learning | None, version: int, round_index: int) -> MemberReport:
        """The round that is over; `learning` is None while the buffer fills."""
        c, found, gradient = self.config, learning or _NOTHING, None
        if learning is not None:
            gradient = AlphaGradient(
                c.run, c.index, self.incarnation, round_index, version, found.gradient,
                found.norm, c.env_id,
            )  # fmt: skip
        return MemberReport(
            c.index, c.env_id, self.incarnation, self.steps, self.life, self.rollout.life_steps,
            gradient, self.episodes, found.q, found.td_loss, found.objective_loss,
            found.policy_gradient_norm, found.value_after, self.origin,
        )  # fmt: skip

    @property
    def ready(self) -> bool:
        """Whether the buffer holds enough to learn from."""
        agent, meta = self.config.agent, self.config.meta
        needed = max(agent.learning_starts, (meta.inner_steps + 1) * agent.batch_size)
        return len(self.rollout.buffer) >= needed

    @property
    def objective_weight(self) -> float:
        """The objective's share p in the policy's loss: below 1 while annealed (B.2)."""
        if self.life:
            return 1.0
        return annealing(self.rollout.life_steps, self.config.meta.anneal_steps)

    def archive_policy(self, networks: Callable[[], dict[str, Any]]) -> None:
        """Offer the policy to the archive, `PER_LIFE` times in a life of the usual length."""
        meta, age = self.config.meta, self.rollout.life_steps
        every = max(1, meta.lifetime // PER_LIFE)
        if meta.older_policies and age // every > (age - self.config.agent.policy_delay) // every:
            self.archive.offer(self.steps, networks)

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

    def close(self) -> None:
        """Free the environment."""
        self.rollout.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything: restoring it gives the same future."""
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
        if self.config.meta.older_policies:
            self.archive.load_state_dict(state["archive"])
            self.origin = state["origin"]
