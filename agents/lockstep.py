"""The alpha-free part of a round for agents of one process, side by side.

Each agent does what it would do alone, in the order of its own random numbers: `policy_delay`
environment steps with a critic update each. What all of them compute at one point, their actions
and their critics' updates, is one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from metagenrl.agents.actor_critic import CriticStep, act, update_critics
from metagenrl.agents.individual import Individual
from metagenrl.agents.preparation import Preparation
from metagenrl.learner.types import Array, Batch

Result = TypeVar("Result")


class Lockstep:
    """Individuals of one environment and configuration; one that raises is out."""

    def __init__(self, individuals: Sequence[Individual]) -> None:
        self._everyone, self._playing = tuple(individuals), list(individuals)
        self._critics: dict[Individual, CriticStep] = {}  # newest update
        self._failures: dict[Individual, Exception] = {}

    def run(self) -> list[Preparation | Exception]:
        """What came of it for each individual, or what it raised."""
        for one in self._everyone:
            one.episodes = ()
        for _ in range(self._everyone[0].config.agent.policy_delay):
            self._take_steps()
            self._update_critics()
        return [
            self._failures.get(one) or Preparation(one.episodes, self._critics.get(one))
            for one in self._everyone
        ]

    def _each(self, phase: Callable[[Individual], Result]) -> dict[Individual, Result]:
        results = {}
        for one in list(self._playing):
            try:
                results[one] = phase(one)
            except Exception as error:
                self._failures[one] = error
                self._playing.remove(one)
        return results

    def _take_steps(self) -> None:
        observed = self._each(lambda one: one.rollout.observe())
        acting = [one for one in observed if not one.rollout.acts_randomly]
        chosen: dict[Individual, Array] = {}
        if acting:
            actions = act([one.actor_critic for one in acting], [observed[one] for one in acting])
            chosen = dict(zip(acting, actions, strict=True))

        def step(one: Individual) -> None:
            def policy(s: Array) -> Array:  # another `s`: the episode had to be begun anew
                return chosen[one] if s is observed[one] else one.actor_critic.act(s)

            one.take_step(policy)

        self._each(step)

    def _update_critics(self) -> None:
        drawn = self._each(_critic_batch)
        batches = {one: batch for one, batch in drawn.items() if batch is not None}
        if batches:
            learners = [one.actor_critic for one in batches]
            steps = update_critics(learners, list(batches.values()))
            self._critics.update(zip(batches, steps, strict=True))


def _critic_batch(individual: Individual) -> Batch | None:
    """A minibatch, None while the buffer fills."""
    if not individual.ready:
        return None
    return individual.rollout.sample(individual.config.agent.batch_size).batch()
