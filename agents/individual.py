"""What a member of the population is apart from how it learns: experience, lives, state.

A member that computes alone and one whose updates are computed together with others' are the same
individual: the same random streams, counters, archive and saved state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from metagenrl.agents.backend.native import ActorCritic
from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.experience.rollout import EnvironmentMaker, Episode, Rollout
from metagenrl.agents.policy_archive import PER_LIFE, PolicyArchive
from metagenrl.agents.preparation import Preparation
from metagenrl.agents.reports import Learning, MemberConfig, MemberReport
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.policy_update import annealing
from metagenrl.learner.types import AlphaGradient, Array

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
