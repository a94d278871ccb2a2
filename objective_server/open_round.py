"""A message in the open round, as the server keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.base.messages import AlphaGradient, Array, CohortGradient, euclidean, unit_sum

Key = tuple[int, int, int, int]
"""A gradient's identity within its run: agent, incarnation, round, version."""


@dataclass(frozen=True, eq=False)
class Pending:
    """A message in the open round: the server's own copy, which no sender can change."""

    agent: int  # the first of `members`
    round: int
    environment: str
    gradient: Array  # [P_alpha], mean over the members
    length: float  # of each member's gradient, as far as `directions` is None
    directions: Array | None  # [P_alpha], sum of the members' unit gradients
    members: tuple[Key, ...]  # the agents in the mean, as identities within the run

    @property
    def weight(self) -> int:
        """Agents whose mean `gradient` is."""
        return len(self.members)

    def unit_sum(self) -> NDArray[np.float64]:
        """Sum of the directions of the members' gradients, `[P_alpha]`."""
        return unit_sum(self.gradient, self.weight, self.length, self.directions)

    @classmethod
    def of(cls, message: AlphaGradient | CohortGradient) -> Pending:
        """Copy what is needed of a message."""
        directions = message.directions if isinstance(message, CohortGradient) else None
        members = tuple(
            (share.agent, share.incarnation, message.round, share.version)
            for share in message.shares
            if share.defect is None
        )
        return cls(
            message.agent, message.round, message.environment, message.gradient.copy(),
            message.length, None if directions is None else directions.copy(), members,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Arrays and JSON values."""
        return {**vars(self), "members": [list(key) for key in self.members]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Pending:
        """Undo `to_dict`; a message of format 1, always one agent's, is read as well."""
        if "members" in state:
            members = tuple((int(a), int(i), int(r), int(v)) for a, i, r, v in state["members"])
            return cls(**{**state, "members": members})
        gradient = state["gradient"]
        key = (state["agent"], state["incarnation"], state["round"], state["version"])
        return cls(
            state["agent"], state["round"], state["environment"], gradient, euclidean(gradient),
            None, (key,),
        )  # fmt: skip
