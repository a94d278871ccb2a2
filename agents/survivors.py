"""Agents that do the same things together, phase by phase; one that raises is out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

Agent = TypeVar("Agent")
Result = TypeVar("Result")


class Group(Generic[Agent]):
    """`playing` are those that did not raise, in their order; `failures` is what others raised."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self.playing = list(agents)
        self.failures: dict[Agent, Exception] = {}

    def each(
        self, phase: Callable[[Agent], Result], among: Iterable[Agent] | None = None
    ) -> dict[Agent, Result]:
        """What `phase` gives for each agent, all that play if it is not said for which."""
        results = {}
        for agent in list(self.playing if among is None else among):
            try:
                results[agent] = phase(agent)
            except Exception as error:
                self._lose(agent, error)
        return results

    def together(
        self, among: Sequence[Agent], compute: Callable[[], Sequence[Result]]
    ) -> dict[Agent, Result]:
        """What `compute` gives for all of them at once; where it raises, all of them are out."""
        if not among:
            return {}
        try:
            return dict(zip(among, compute(), strict=True))
        except Exception as error:
            for agent in among:
                self._lose(agent, error)
            return {}

    def _lose(self, agent: Agent, error: Exception) -> None:
        self.failures[agent] = error
        self.playing.remove(agent)
