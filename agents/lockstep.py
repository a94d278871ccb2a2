"""The alpha-free part of a round for agents of one process, side by side.

Each agent does what it would do alone, in the order of its own random numbers: `policy_delay`
environment steps with a critic update each. What all of them compute at one point, their actions
and their critics' updates, is one call.
"""

from __future__ import annotations

from collections.abc import Sequence

from metagenrl.agents.backend.native import CriticStep, act, update_critics
from metagenrl.agents.individual import Individual
from metagenrl.agents.preparation import Preparation
from metagenrl.agents.survivors import Group
from metagenrl.learner.types import Array, Batch


def step_and_learn(individuals: Sequence[Individual]) -> list[Preparation | Exception]:
    """What came of it for each individual, or what it raised.

    All have the same environment and configuration.
    """
    group, critics = Group(individuals), dict[Individual, CriticStep]()
    for one in individuals:
        one.episodes = ()
    for _ in range(individuals[0].config.agent.policy_delay):
        _take_steps(group)
        critics |= _update_critics(group)
    return [
        group.failures.get(one) or Preparation(one.episodes, critics.get(one))
        for one in individuals
    ]


def _take_steps(group: Group[Individual]) -> None:
    observed = group.each(lambda one: one.rollout.observe())
    acting = [one for one in observed if not one.rollout.acts_randomly]
    agents = [one.actor_critic for one in acting]
    chosen = group.together(acting, lambda: [*act(agents, [observed[one] for one in acting])])

    def step(one: Individual) -> None:
        def policy(s: Array) -> Array:  # another `s`: the episode had to be begun anew
            return chosen[one] if s is observed[one] else one.actor_critic.act(s)

        one.take_step(policy)

    group.each(step)


def _update_critics(group: Group[Individual]) -> dict[Individual, CriticStep]:
    ready = [one for one in group.playing if one.ready]
    batches = group.each(_critic_batch, ready)
    agents = [one.actor_critic for one in batches]
    return group.together([*batches], lambda: update_critics(agents, [*batches.values()]))


def _critic_batch(individual: Individual) -> Batch:
    return individual.rollout.sample(individual.config.agent.batch_size).batch()
