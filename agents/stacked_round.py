"""One round of Algorithm 1 for agents whose updates are computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from metagenrl.agents.backend.native import require_finite
from metagenrl.agents.backend.reference import CriticDraw, StackedLearner
from metagenrl.agents.experience.segments import Draw
from metagenrl.agents.individual import Individual
from metagenrl.agents.preparation import Preparation
from metagenrl.agents.reports import Failure, Learning, MemberReport
from metagenrl.learner.critic import smoothing_noise
from metagenrl.learner.types import Array

Result = TypeVar("Result")


@dataclass(frozen=True)
class Seat:
    """An individual and where the learner has it."""

    individual: Individual
    slot: int


class StackedRound:
    """Every agent does what `Member.round` does, in the same order of its own random numbers.

    The round goes phase by phase over all agents; one that raises is out and the others go on.
    The policies stay fixed until the end of a round, so environments take their next step while
    the critics learn from the one before.
    """

    def __init__(self, learner: StackedLearner, seats: Mapping[int, Seat]) -> None:
        self._learner, self._playing = learner, dict(seats)
        self._ahead = _preparations(seats.values())  # by slot, of agents that did their steps
        self._learning = {s for s, done in self._ahead.items() if done.critic is not None}
        """Slots whose critics learned in this round."""
        self.failures: list[Failure] = []

    def run(self, version: int, round_index: int) -> list[MemberReport]:
        """Reports of the agents that did not fail; new lives have begun already."""
        delay = next(iter(self._playing.values())).individual.config.agent.policy_delay
        self._choose_actions()
        for step in range(delay):
            self._take_steps()
            if step + 1 < delay:
                self._choose_actions()
            self._update_critics()
        found = self._update_policies()
        reports = self._each(lambda seat: self._report(seat, found, version, round_index))
        return list(reports.values())

    def _each(self, phase: Callable[[Seat], Result], stepping: bool = False) -> dict[int, Result]:
        """What `phase` gives for every agent still in the round, by slot.

        `stepping`: only for those whose steps were not done ahead.
        """
        results = {}
        for agent, seat in list(self._playing.items()):
            if stepping and seat.slot in self._ahead:
                continue
            try:
                results[seat.slot] = phase(seat)
            except Exception as error:
                self.failures.append(Failure.of(agent, error))
                del self._playing[agent]
        return results

    def _choose_actions(self) -> None:
        seen = self._each(lambda seat: seat.individual.rollout.observe(), stepping=True)
        if not seen:
            return
        actions = self._learner.act(seen)
        self._each(lambda seat: seat.individual.rollout.choose(lambda _: actions[seat.slot]), True)

    def _take_steps(self) -> None:
        self._each(
            lambda seat: seat.individual.take_step(lambda s: self._act_alone(seat.slot, s)), True
        )
        buffers = self._each(lambda seat: seat.individual.rollout.buffer, stepping=True)
        if buffers:
            self._learner.remember(buffers)

    def _act_alone(self, slot: int, observation: Array) -> Array:
        """For an episode that had to be begun anew within a step."""
        action: Array = self._learner.act({slot: observation})[slot]
        return action

    def _update_critics(self) -> None:
        drawn = self._each(_critic_draw, stepping=True)
        draws = {slot: draw for slot, draw in drawn.items() if draw is not None}
        if draws:
            self._learner.update_critics(draws)
            self._learning |= draws.keys()

    def _update_policies(self) -> list[Learning]:
        draws = self._each(self._policy_draw)
        drawn = {slot: draw for slot, draw in draws.items() if draw is not None}
        if not drawn:
            return []
        weights = self._each(lambda seat: seat.individual.objective_weight)
        self._learner.update_policies(drawn, {slot: weights[slot] for slot in drawn})
        return self._learner.results()

    def _policy_draw(self, seat: Seat) -> Draw | None:
        if seat.slot not in self._learning:
            return None
        return seat.individual.rollout.draw(2 * seat.individual.config.agent.batch_size)

    def _report(
        self, seat: Seat, found: list[Learning], version: int, round_index: int
    ) -> MemberReport:
        individual = seat.individual
        if seat.slot not in self._learning:
            return individual.report(None, version, round_index)
        learning = found[seat.slot]
        require_finite(learning.policy_gradient_norm)
        done = self._ahead.get(seat.slot)
        if done is not None and done.critic is not None:
            td_loss, q = done.critic
            learning = replace(learning, td_loss=td_loss, q=q)
        individual.archive_policy(lambda: self._learner.networks_state(seat.slot))
        return individual.report(learning, version, round_index)


def _preparations(seats: Iterable[Seat]) -> dict[int, Preparation]:
    """What agents did ahead before they came here."""
    found = ((seat.slot, seat.individual.take_preparation()) for seat in seats)
    return {slot: done for slot, done in found if done is not None}


def _critic_draw(seat: Seat) -> CriticDraw | None:
    """A minibatch's segments and smoothing noise; None while the buffer fills."""
    individual = seat.individual
    c = individual.config.agent
    if not individual.ready:
        return None
    segments = individual.rollout.draw(c.batch_size)
    shape = (c.batch_size, c.segment_length, individual.rollout.environment.action_size)
    noise = smoothing_noise(shape, c.target_noise, c.target_noise_clip, [individual.generator])
    return CriticDraw(segments, noise[0])
