"""Who is in the population and in what condition: the table that the loop works from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metagenrl.agents.member import MemberConfig, first_life
from metagenrl.cluster.config import TrainConfig

Condition = Literal["starting", "idle", "busy", "failed", "done"]


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

    @property
    def index(self) -> int:
        """The agent's number."""
        return self.config.index


class Roster:
    """All seats, in order."""

    def __init__(self, config: TrainConfig, run: str) -> None:
        count = len(config.envs)
        life = config.meta.lifetime
        self.seats = [
            Seat(
                MemberConfig(
                    run,
                    config.seed,
                    index,
                    config.envs[index % count],
                    first_life(life, index, count, config.agents, config.meta.stagger),
                    config.agent,
                    config.meta,
                    config.objective,
                )
            )
            for index in range(config.agents)
        ]

    def __getitem__(self, agent: int) -> Seat:
        return self.seats[agent]

    def in_condition(self, *conditions: Condition) -> list[Seat]:
        """The seats in one of these conditions, by index."""
        return [seat for seat in self.seats if seat.condition in conditions]

    @property
    def active(self) -> list[int]:
        """Agents that still take part."""
        return [seat.index for seat in self.in_condition("starting", "idle", "busy")]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of each seat."""
        return {
            str(seat.index): {
                "incarnation": seat.incarnation,
                "restarts": seat.restarts,
                "steps": seat.steps,
                "failed": seat.condition == "failed",
            }
            for seat in self.seats
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore; a failed agent gets another chance on resume."""
        for seat in self.seats:
            saved = state[str(seat.index)]
            seat.incarnation, seat.steps = int(saved["incarnation"]), int(saved["steps"])
            seat.restarts = 0 if saved["failed"] else int(saved["restarts"])
