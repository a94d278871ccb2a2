"""The objective server: alpha, its optimiser, versions, at-most-once application."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metagenrl.base.checks import require
from metagenrl.objective_server.adam import CosineDecay
from metagenrl.objective_server.admission import Message, admit
from metagenrl.objective_server.aggregate import combine, euclidean
from metagenrl.objective_server.answers import (
    AgentCounters,
    Broadcast,
    Reason,
    RoundReport,
    Totals,
)
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.interface import Store

__all__ = ["ObjectiveServer", "ServerConfig"]

logger = logging.getLogger(__name__)


class ObjectiveServer:
    """Owns alpha. Safe to call from several threads.

    A round: agents `submit` gradients, one each; `close_round` averages them and applies Adam
    once. The next state is built beside the present one, committed to the store, and only then
    becomes the present one and is published, so that a crash at any point leaves one or the
    other, and a retry of what went unanswered changes nothing twice.
    """

    def __init__(self, state: ServerState, store: Store, config: ServerConfig) -> None:
        """Go on from `state`; the first closed round writes what follows to `store`."""
        self._state, self._store, self._config = state, store, config
        self._report: RoundReport | None = None
        self._lock = threading.RLock()

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        learning_rate: float | CosineDecay,
        store: Store,
        config: ServerConfig,
    ) -> ObjectiveServer:
        """The server that `state_dict` described, which is what `store` holds."""
        return cls(ServerState.from_dict(state, learning_rate), store, config)

    def state_dict(self) -> dict[str, Any]:
        """Everything, gradients of the open round included: arrays and JSON values."""
        return self._state.to_dict()

    @property
    def version(self) -> int:
        """Rounds applied so far; never goes back."""
        return self._state.version

    @property
    def round(self) -> int:
        """The open round."""
        return self._state.round

    def broadcast(self) -> Broadcast:
        """The present objective."""
        with self._lock:
            state = self._state
            return Broadcast(
                state.version, state.round, state.alpha, self._report, state.quarantined
            )

    def submit(self, gradients: Sequence[Message]) -> tuple[Reason | None, ...]:
        """Take each message into the open round, or count and refuse it; retries are harmless.

        For each the reason why it was refused, None where it was taken. Raises `WrongGradientSize`
        for another length or dtype and `ValueError` for another run's gradient: these are
        programming errors, so nothing is counted then.
        """
        with self._lock:
            self._state, reasons = admit(self._state, gradients, self._config)
            return tuple(reasons)

    def ready(self, active: Collection[int]) -> bool:
        """Whether a quorum of the `active` agents is in the open round; False if there are none."""
        with self._lock:
            present = sum(agent in self._state.in_round for agent in active)
            # The subtraction undoes rounding: 0.07 * 100 is a little over 7.
            needed = math.ceil(self._config.quorum * len(active) - 1e-9)
            return len(active) > 0 and present >= needed

    def close_round(self, round: int, expected: Collection[int] = ()) -> Broadcast:
        """Apply the mean of the open round's gradients with one Adam step, and open the next.

        `round` is the one the caller means to close, so that a retry of a call whose answer was
        lost finds it closed and only gets the present objective. With no gradient the version
        stays. `expected` agents without a gradient are reported as missing.

        Raises `ValueError` for a round that is not open yet, and what the store's commit raises:
        the server is then as before, gradients included, and the call can be made again.
        """
        with self._lock:
            state = self._state
            require(round <= state.round, "round", round, f"up to the open one, {state.round}")
            if round < state.round:
                return self.broadcast()
            mean, cosines = combine(state.pending.values())
            after = state.closed(mean, self._config.history)
            report = RoundReport(
                round=round,
                applied=mean is not None,
                contributors=tuple(sorted(state.in_round)),
                missing=tuple(sorted(set(expected) - state.in_round.keys())),
                gradient_norm=0.0 if mean is None else euclidean(mean),
                update_norm=euclidean(after.alpha - state.alpha),
                cosines=cosines,
                applied_gradients=tuple(sorted(state.in_round.values())),
            )
            self._store.commit(after.to_dict())
            self._state, self._report = after, report
            return self.broadcast()

    def counters(self) -> dict[int, AgentCounters]:
        """The counters of each agent's gradients."""
        with self._lock:
            return self._state.counters()

    def totals(self) -> Totals:
        """The counters of all agents' gradients together."""
        with self._lock:
            return self._state.totals()
