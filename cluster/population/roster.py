"""Who is in the population and in what condition: the table that the loop works from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from metagenrl.agents.reports import MemberConfig, first_life
from metagenrl.runs.config.train import TrainConfig

Condition = Literal["starting", "idle", "busy", "failed", "done", "left"]


@dataclass
class Seat:
    """One agent's place in the population."""

    config: MemberConfig
    incarnation: int = 0
    restarts: int = 0
    condition: Condition = "starting"
    steps: int = 0
    begun: float = 0.0  # when its round began, seconds on the monotonic clock
    late: bool = False  # a round has closed without it
    joined: int = 0  # the population's steps an agent when it joined, less its own

    @property
    def progress(self) -> int:
        """The population's steps an agent as this one sees them: newcomers end with the rest."""
        return self.joined + self.steps

    @property
    def index(self) -> int:
        """The agent's number."""
        return self.config.index


class Roster:
    """All seats, in order."""

    def __init__(self, config: TrainConfig, run: str) -> None:
        self._config, self._run = config, run
        self.seats = [self._seat(index, config.agents) for index in range(config.agents)]

    def _seat(self, index: int, agents: int) -> Seat:
        config = self._config
        life = self._first_life(index, agents)
        return Seat(
            MemberConfig(
                self._run,
                config.seed,
                index,
                config.env_of(index),
                life,
                config.agent,
                config.meta,
                config.objective,
            )
        )

    def _first_life(self, index: int, agents: int) -> int:
        config, meta = self._config, self._config.meta
        if not config.agents_per_env:
            return first_life(meta.lifetime, index, len(config.envs), agents, meta.stagger)
        env = config.env_of(index)
        peers = [other for other in range(max(agents, index + 1)) if config.env_of(other) == env]
        return first_life(meta.lifetime, peers.index(index), 1, len(peers), meta.stagger)

    def __getitem__(self, agent: int) -> Seat:
        return self.seats[agent]

    def in_condition(self, *conditions: Condition) -> list[Seat]:
        """The seats in one of these conditions, by index."""
        return [seat for seat in self.seats if seat.condition in conditions]

    @property
    def present(self) -> list[Seat]:
        """The seats that are taken: all but those whose agents have left."""
        return [seat for seat in self.seats if seat.condition != "left"]

    def join(self, agents: int) -> list[Seat]:
        """Take seats until `agents` are taken, lowest first; the seats that are new.

        An agent that takes the seat of one that left is another incarnation, so that its random
        streams and gradients are its own. It begins where the population is.
        """
        progress = max((self[agent].progress for agent in self.active), default=0)
        taken = []
        for index in range(agents):
            if index == len(self.seats):
                self.seats.append(self._seat(index, agents))
            elif self[index].condition == "left":
                incarnation = self[index].incarnation + 1
                self.seats[index] = self._seat(index, agents)
                self.seats[index].incarnation = incarnation
            else:
                continue
            self[index].joined = progress
            taken.append(self[index])
        return taken

    @property
    def active(self) -> list[int]:
        """Agents that still take part."""
        return [seat.index for seat in self.in_condition("starting", "idle", "busy")]

    def state_dict(self) -> dict[str, Any]:
        """The part of each seat that a checkpoint keeps."""
        return {
            str(seat.index): {
                "incarnation": seat.incarnation,
                "restarts": seat.restarts,
                "steps": seat.steps,
                "failed": seat.condition == "failed",
                "left": seat.condition == "left",
                "joined": seat.joined,
                "first_life": seat.config.first_life,
            }
            for seat in self.seats
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore, whatever number of agents that was; a failed one gets another chance."""
        self.seats = [self._seat(index, len(state)) for index in range(len(state))]
        for seat in self.seats:
            saved = state[str(seat.index)]
            seat.config = replace(seat.config, first_life=int(saved["first_life"]))
            seat.incarnation, seat.steps = int(saved["incarnation"]), int(saved["steps"])
            seat.restarts = 0 if saved["failed"] else int(saved["restarts"])
            seat.joined = int(saved["joined"])
            seat.condition = "left" if saved["left"] else "starting"
