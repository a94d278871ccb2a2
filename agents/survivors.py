"""Agents that do the same things together, phase by phase; one that raises is out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar


class Seated(Protocol):
    """An agent with a place on a backend."""

    @property
    def slot(self) -> int:
        """The place."""
        ...


Agent = TypeVar("Agent", bound=Seated)
Given = TypeVar("Given")
Result = TypeVar("Result")


class Group(Generic[Agent]):
    """`playing` are those that did not raise, in their order; `failures` is what others raised."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self.playing = list(agents)
        self.failures: dict[Agent, Exception] = {}

    def each(
        self, phase: Callable[[Agent], Result], among: Iterable[Agent] | None = None
    ) -> dict[Agent, Result]:
        """The result of `phase` for each of the given agents, by default for all that play."""
        results = {}
        for agent in list(self.playing if among is None else among):
            try:
                results[agent] = phase(agent)
            except Exception as error:
                self._lose(agent, error)
        return results

    def by_slot(
        self,
        given: Mapping[Agent, Given],
        compute: Callable[[Mapping[int, Given]], Mapping[int, Result]],
    ) -> dict[Agent, Result]:
        """The results of `compute` for all agents' values at once; where it raises, all are out."""
        if not given:
            return {}
        try:
            found = compute({agent.slot: value for agent, value in given.items()})
            return {agent: found[agent.slot] for agent in given}
        except Exception as error:
            for agent in given:
                self._lose(agent, error)
            return {}

    def _lose(self, agent: Agent, error: Exception) -> None:
        self.failures[agent] = error
        self.playing.remove(agent)
