"""What the server answers, and the counters it keeps of every agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metagenrl.objective_server.aggregate import Cosines

Reason = Literal["stale", "duplicate", "future", "non_finite", "zero", "quarantined"]
"""Why a gradient was refused."""


@dataclass(frozen=True)
class RoundReport:
    """How one round went."""

    round: int
    applied: bool  # False where nothing was accepted, so that the version did not move
    contributors: tuple[int, ...]  # ascending
    missing: tuple[int, ...]  # expected, but not among the contributors
    gradient_norm: float  # of the mean gradient; 0 where nothing was accepted
    update_norm: float  # of the change of alpha
    cosines: Cosines
    applied_gradients: tuple[tuple[int, int, int, int], ...] = ()
    """Identities (agent, incarnation, round, version) of the contributions, ascending."""


@dataclass(frozen=True, eq=False)
class Broadcast:
    """The objective as it is now: what agents compute their next gradient with and for."""

    version: int
    round: int  # the open round, which the next gradients belong to
    alpha: NDArray[np.float32]  # [P_alpha], read-only; never changed afterwards
    report: RoundReport | None  # of the last round this process closed
    quarantined: Mapping[int, int] = field(default_factory=dict)  # agent: incarnation


@dataclass(frozen=True)
class AgentCounters:
    """The counters of an agent's gradients: sent = accepted + rejected + in flight."""

    sent: int
    accepted: int  # applied
    rejected: Mapping[Reason, int]
    in_flight: int  # in the open round
    quarantined: bool


class Totals(NamedTuple):
    """The counters of all agents' gradients together."""

    accepted: int  # applied
    rejected: int  # for any reason
    stale: int
    duplicate: int


class AgentRecord(NamedTuple):
    """The part of an agent's counters that is state. A change makes a new record."""

    sent: int = 0
    accepted: int = 0
    stale: int = 0
    duplicate: int = 0
    future: int = 0
    non_finite: int = 0
    zero: int = 0
    quarantined: int = 0
    bad_in_a_row: int = 0
    quarantine: int | None = None  # the incarnation it was imposed on, None: free

    @property
    def rejected(self) -> dict[Reason, int]:
        """Rejected gradients by reason."""
        return {
            "stale": self.stale,
            "duplicate": self.duplicate,
            "future": self.future,
            "non_finite": self.non_finite,
            "zero": self.zero,
            "quarantined": self.quarantined,
        }

    def reject(self, reason: Reason) -> AgentRecord:
        """The record with one more rejection."""
        counts: dict[str, Any] = {reason: self.rejected[reason] + 1}
        return self._replace(**counts)
