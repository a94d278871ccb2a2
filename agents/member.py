"""A member of the population: its environment, experience, lives, random streams and saved state.

Its networks are on a backend, in the member's slot, from its first round on; a new life's networks
wait here until the backend takes them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metagenrl.agents.backend.actor_critic import ActorCritic, require_finite
from metagenrl.agents.backend.interface import (
    Backend,
    CriticDraw,
    NetworksState,
    PolicyDraw,
    PolicyStep,
)
from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.experience.rollout import EnvironmentMaker, Episode, Rollout
from metagenrl.agents.policy_archive import PER_LIFE, PolicyArchive
from metagenrl.agents.reports import MemberConfig, MemberReport, Preparation
from metagenrl.agents.seeding import agent_seeds
from metagenrl.base.messages import AlphaGradient
from metagenrl.learner.critic import smoothing_noise
from metagenrl.learner.measures import MEASURE_EVERY
from metagenrl.learner.policy_update import annealing
from metagenrl.learner.resampling import resampling_noise

_NAN = float("nan")


class Member:
    """An agent's environment, memory, lives and state; `metagenrl.agents.round` plays rounds."""

    def __init__(
        self,
        config: MemberConfig,
        incarnation: int = 0,
        make_environment: EnvironmentMaker = Environment,
    ) -> None:
        self.config, self.incarnation = config, incarnation
        self.slot = -1  # on the backend
        seeds = agent_seeds(config.seed, config.index, incarnation)
        ranges = config.seed, config.index
        self.rollout = Rollout(config.env_id, config.agent, seeds, make_environment, ranges)
        self.generator = torch.Generator().manual_seed(seeds.torch_seed)
        self.waiting: NetworksState | None = self._newborn()  # for the backend to take them
        self.steps, self.life, self.life_length = 0, 0, config.first_life
        self.archive = PolicyArchive(config.meta.archive_size, seeds.archive)
        self.origin: int | None = None  # step of the policy that this life began with
        self.episodes: tuple[Episode, ...] = ()  # that ended in the round
        self._prepared: Preparation | None = None  # of the next round
        self._failure: Exception | None = None  # of what was done ahead

    @property
    def sizes(self) -> tuple[int, int]:
        """Of an observation and an action."""
        return self.rollout.environment.observation_size, self.rollout.environment.action_size

    def _newborn(self) -> NetworksState:
        return ActorCritic(self.config.agent, *self.sizes, self.generator).networks_state()

    def take_seat(self, backend: Backend) -> None:
        """Put the networks that wait for the backend into the member's slot there."""
        if self.waiting is not None:
            backend.load(self.slot, self.waiting)
            self.waiting = None

    def begin_round(self, backend: Backend) -> None:
        """Begin a new life where the last one is over."""
        self.steps += self.config.agent.policy_delay
        self.episodes = ()
        if self._prepared is None and self.life_is_over:
            self._begin_life()
        self.take_seat(backend)

    @property
    def life_is_over(self) -> bool:
        """Whether the next step is a new life's first one."""
        return 0 < self.life_length <= self.rollout.life_steps

    def _begin_life(self) -> None:
        """Networks, optimisers, targets and buffer anew, or the networks from the archive.

        An earlier policy acts itself from the first step on. The random streams go on.
        """
        meta = self.config.meta
        earlier = self.archive.draw(meta.older_policies) if meta.older_policies else None
        self.life += 1
        self.life_length = meta.lifetime
        self.rollout.restart(meta.lifetime_random_steps if earlier is None else 0, self.life)
        self.waiting, self.origin = self._newborn(), None
        if earlier is not None:
            self.waiting, self.origin = earlier.state, earlier.steps

    @property
    def may_go_ahead(self) -> bool:
        """Whether the next alpha-free part has not been done, and belongs to the present life."""
        return self._prepared is None and self._failure is None and not self.life_is_over

    def forget_episodes(self) -> None:
        """Drop the episodes of the last round, which have been reported."""
        self.episodes = ()

    def take_result(self, result: Preparation | Exception) -> None:
        """Keep the result of the alpha-free part."""
        if isinstance(result, Exception):
            self._failure = result
        else:
            self._prepared = result

    def take_preparation(self) -> Preparation:
        """The result of the alpha-free part. Raises the error that it ended with."""
        self._raise_failure()
        prepared, self._prepared = self._prepared, None
        assert prepared is not None, "a round's alpha-free part comes first"
        self.episodes = prepared.episodes
        return prepared

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def take_step(self, backend: Backend) -> None:
        """One environment step with the action that was chosen; raises as `Rollout.step` does.

        The policy is asked only where an episode breaks down and begins anew.
        """
        episode = self.rollout.step(lambda s: backend.act({self.slot: s})[self.slot])
        if episode is not None:
            self.episodes += (episode,)

    @property
    def ready(self) -> bool:
        """Whether the buffer holds enough to learn from."""
        agent, meta = self.config.agent, self.config.meta
        needed = max(agent.learning_starts, (meta.inner_steps + 1) * agent.batch_size)
        return len(self.rollout.buffer) >= needed

    def draw_for_critics(self) -> CriticDraw:
        """A minibatch and the target policy's smoothing."""
        c = self.config.agent
        minibatch = self.rollout.minibatch(c.batch_size)
        shape = (c.batch_size, c.segment_length, self.rollout.environment.action_size)
        noise = smoothing_noise(shape, c.target_noise, c.target_noise_clip, [self.generator])
        return CriticDraw(minibatch, noise[0])

    def draw_for_policy(self) -> PolicyDraw:
        """Minibatches of the inner steps and one that is held out, and the objective's weight."""
        count = self.config.meta.inner_steps + 1
        minibatch = self.rollout.minibatch(self.config.agent.batch_size * count)
        rounds = self.rollout.life_steps // self.config.agent.policy_delay
        measured, noise = rounds % MEASURE_EVERY == 0, self._resampling_noise()
        return PolicyDraw(minibatch, self.objective_weight, measured, noise)

    def _resampling_noise(self) -> Tensor | None:
        """Of the actions that the objective is shown, in each inner step."""
        c, actions = self.config, self.sizes[1]
        shape = (c.meta.inner_steps * c.agent.batch_size, c.agent.segment_length, actions)
        return resampling_noise(c.objective.resample_noise, shape, self.generator)

    @property
    def objective_weight(self) -> float:
        """The objective's share p in the policy's loss: below 1 while annealed (B.2)."""
        if self.life:
            return 1.0
        return annealing(self.rollout.life_steps, self.config.meta.anneal_steps)

    def report(
        self,
        backend: Backend,
        done: Preparation,
        step: PolicyStep | None,
        version: int,
        round_index: int,
    ) -> MemberReport:
        """The round that is over; `step` is None while the buffer fills.

        Raises `FloatingPointError` where the policy's gradient is not finite.
        """
        c, critic, gradient = self.config, done.critic, None
        if step is not None:
            require_finite(step.policy_norm)
            self._archive_policy(backend)
            gradient = AlphaGradient(
                c.run, c.index, self.incarnation, round_index, version, step.gradient,
                step.norm, c.env_id,
            )  # fmt: skip
        return MemberReport(
            c.index, c.env_id, self.incarnation, self.steps, self.life, self.rollout.life_steps,
            gradient, self.episodes,
            q=critic.q if critic and step else _NAN,
            td_loss=critic.td_loss if critic and step else _NAN,
            objective_loss=step.loss if step else _NAN,
            policy_gradient_norm=step.policy_norm if step else _NAN,
            value_after=step.value_after if step else _NAN,
            origin=self.origin,
            drawn=self.rollout.drawn,
            backend=backend.name,
            values=dict(step.values) if step else {},
        )  # fmt: skip

    def _archive_policy(self, backend: Backend) -> None:
        """Offer the policy to the archive, `PER_LIFE` times in a life of the usual length."""
        meta, age = self.config.meta, self.rollout.life_steps
        every = max(1, meta.lifetime // PER_LIFE)
        if meta.older_policies and age // every > (age - self.config.agent.policy_delay) // every:
            self.archive.offer(self.steps, lambda: backend.networks(self.slot))

    def close(self) -> None:
        """Free the environment."""
        self.rollout.environment.close()

    def state_dict(self, backend: Backend | None) -> dict[str, Any]:
        """The complete state: restoring it gives the same future. Raises errors of work ahead."""
        self._raise_failure()
        networks = self.waiting
        if networks is None:
            assert backend is not None, "it has taken the networks"
            networks = backend.networks(self.slot)
        state = {
            "actor_critic": networks | {"generator": self.generator.get_state().numpy().copy()},
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
        """Restore; a process that took over from a dead one passes its own incarnation.

        Raises where a shape differs.
        """
        ac = ActorCritic(self.config.agent, *self.sizes, self.generator)
        ac.load_state_dict(state["actor_critic"])  # with the generator's state
        self.waiting = ac.networks_state()
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
