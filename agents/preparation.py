"""The part of a round that needs no alpha: environment steps with a critic update each.

It can be done ahead, while the objective server still applies the round before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metagenrl.agents.experience.rollout import Episode


@dataclass(frozen=True)
class Preparation:
    """What came of it, apart from the changes to the member itself."""

    episodes: tuple[Episode, ...]  # that ended
    critic: tuple[float, float] | None  # last update's TD loss and mean Q; None: buffer fills

    def state_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "episodes": [[e.undiscounted_return, e.length] for e in self.episodes],
            "critic": None if self.critic is None else list(self.critic),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Preparation:
        """Undo `state_dict`."""
        episodes = tuple(Episode(float(r), int(length)) for r, length in state["episodes"])
        if state["critic"] is None:
            return cls(episodes, None)
        td_loss, q = state["critic"]
        return cls(episodes, (float(td_loss), float(q)))
