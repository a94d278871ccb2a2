"""A cohort whose agents are computed together, their parameters along a leading axis."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metagenrl.agents.backend.graph import prepare_device
from metagenrl.agents.backend.reference import StackedLearner
from metagenrl.agents.cohort import Cohort, together
from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.environment.remote import EnvWorkers
from metagenrl.agents.individual import Individual
from metagenrl.agents.reports import CohortReport, Failure, MemberConfig
from metagenrl.agents.stacked_round import Seat, StackedRound
from metagenrl.learner.hyperparams import Device, require_stackable
from metagenrl.learner.types import Array


@dataclass(frozen=True)
class Computing:
    """How a cohort computes."""

    together: bool = False  # its agents stacked, instead of one after the other
    device: Device = "cpu"  # where, if together
    fused: bool = False  # see `metagenrl.agents.backend.graph.Replayed`
    env_workers: int = 0  # processes that step their environments; 0: this one

    def cohort(self) -> Cohort | StackedCohort:
        """A new cohort without members."""
        if not self.together:
            return Cohort()
        return StackedCohort(self.device, self.fused, self.env_workers)


class StackedCohort:
    """See `Cohort`, whose members and saved states these are; on the CPU or on a GPU.

    Results differ from a cohort's by rounding only. All agents must have the same environment and
    configuration.
    """

    def __init__(self, device: Device = "cpu", fused: bool = False, env_workers: int = 0) -> None:
        self._device, self._fused = device, fused
        workers = EnvWorkers(env_workers) if env_workers else None
        self._make_environment = Environment if workers is None else workers.environment
        self._individuals: dict[int, Individual] = {}
        self._learner: StackedLearner | None = None
        self._slots: dict[int, int] = {}  # where the learner has an agent, or had it
        self._loaded: set[int] = set()  # agents whose networks are the learner's

    def add(self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None) -> None:
        """Take in a member, new or from `state`. Raises what making the member raises."""
        require_stackable(config.meta)
        self.remove(config.index)
        individual = Individual(config, incarnation, self._make_environment)
        if state is not None:
            individual.load_state_dict(state, incarnation)
        self._individuals[config.index] = individual

    def remove(self, agent: int) -> None:
        """Let a member go; one that is not there is gone already."""
        self._loaded.discard(agent)
        self._slots.pop(agent, None)
        individual = self._individuals.pop(agent, None)
        if individual is not None:
            individual.close()

    def state(self, agent: int) -> dict[str, Any]:
        """A member's complete state. Raises `KeyError` where it is not there."""
        individual = self._individuals[agent]
        self._fetch(agent)
        return individual.state_dict()

    def _fetch(self, agent: int) -> None:
        """Bring a member's networks up to date."""
        if self._learner is not None and agent in self._loaded:
            networks = self._learner.networks_state(self._slots[agent])
            self._individuals[agent].actor_critic.load_networks_state(networks)

    def prepare(self, agents: Sequence[int]) -> None:
        """See `Cohort`, which does the same round without: here nothing is done ahead.

        Environments step while the critics learn, and a round's end waits for the device anyway.
        """

    def round(
        self,
        agents: Sequence[int],
        alpha: Array,
        version: int,
        round_index: int,
        quarantined: Mapping[int, int],
    ) -> CohortReport:
        """One round of Algorithm 1 for each of `agents`, with the objective `alpha [P]`."""
        failures = self._begin(agents)
        learner = self._seated()
        learner.set_alpha(alpha)
        gone = {failure.agent for failure in failures}
        seats = {a: Seat(self._individuals[a], self._slots[a]) for a in agents if a not in gone}
        reports = []
        if seats:
            played = StackedRound(learner, seats)
            reports = played.run(version, round_index)
            failures += played.failures
        for failure in failures:
            self._discard(failure.agent)
        return together(reports, failures, quarantined)

    def _begin(self, agents: Sequence[int]) -> list[Failure]:
        """New lives where one is over; those that could not begin the round."""
        failures = []
        for agent in agents:
            try:
                if self._individuals[agent].begin_round():
                    self._loaded.discard(agent)
            except Exception as error:
                failures.append(Failure.of(agent, error))
        return failures

    def _seated(self) -> StackedLearner:
        """The learner, with room for all members and what is new of them."""
        learner = self._learner
        if learner is None or len(self._individuals) > learner.slots:
            for agent in self._loaded:
                self._fetch(agent)
            learner = self._learner = self._new_learner()
            self._slots, self._loaded = {}, set()
        for agent in sorted(self._individuals.keys() - self._loaded):
            free = sorted(set(range(learner.slots)) - set(self._slots.values()))
            slot = self._slots[agent] if agent in self._slots else free[0]
            self._slots[agent] = slot
            learner.load(slot, self._individuals[agent])
            self._loaded.add(agent)
        return learner

    def _new_learner(self) -> StackedLearner:
        first = next(iter(self._individuals.values()))
        device, nets = prepare_device(self._device), first.actor_critic.nets
        return StackedLearner(first.config, nets, len(self._individuals), device, self._fused)

    def _discard(self, agent: int) -> None:
        """Drop a member that raised; its environment may not even close any more."""
        with contextlib.suppress(Exception):
            self.remove(agent)
