"""Configuration of the objective server."""

from __future__ import annotations

from dataclasses import dataclass

from metagenrl.base.checks import require


@dataclass(frozen=True)
class ServerConfig:
    """How rounds close and what is refused. A bad value raises `ValueError`, naming the field."""

    staleness_bound: int = 0
    """Versions a gradient may be behind; 0: the paper's synchronous rounds."""
    quorum: float = 1.0
    """Fraction of the active agents whose gradients make a round `ready` to close."""
    quarantine_after: int = 3
    """Bad gradients (NaN or Inf) in a row after which an agent's are refused."""
    history: int = 64
    """Closed rounds whose gradients are remembered; older ones are refused as stale."""

    def __post_init__(self) -> None:
        require(self.staleness_bound >= 0, "staleness_bound", self.staleness_bound, "0 or more")
        require(0 < self.quorum <= 1, "quorum", self.quorum, "a number in (0, 1]")
        require(self.quarantine_after >= 1, "quarantine_after", self.quarantine_after, "1 or more")
        least = self.staleness_bound + 1
        allowed = f"{least} (staleness_bound + 1) or more"
        require(self.history >= least, "history", self.history, allowed)
