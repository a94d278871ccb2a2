"""The gradients that the server knows, so that a retry is recognised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.objective_server.open_round import Key

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Round:
    keys: frozenset[Key]
    rows: Rows  # [N, 4], ascending: as they are saved

    @classmethod
    def of(cls, keys: frozenset[Key]) -> _Round:
        return cls(keys, np.array(sorted(keys), np.int64).reshape(-1, 4))


@dataclass(frozen=True, eq=False)
class SeenGradients:
    """Identities by the round that they were computed for; a change makes a new value.

    What is kept of a round is shared with the values before, so that a change costs what the
    rounds that it touches have, and not what all rounds have together.
    """

    _rounds: Mapping[int, _Round] = field(default_factory=dict)

    def __contains__(self, key: Key) -> bool:
        there = self._rounds.get(key[2])
        return there is not None and key in there.keys

    def including(self, keys: Iterable[Key]) -> SeenGradients:
        """With these as well."""
        new: dict[int, set[Key]] = {}
        for key in keys:
            new.setdefault(key[2], set()).add(key)
        rounds = dict(self._rounds)
        for number, added in new.items():
            known = rounds[number].keys if number in rounds else frozenset()
            rounds[number] = _Round.of(known | added)
        return SeenGradients(rounds)

    def since(self, oldest: int) -> SeenGradients:
        """Without those of the rounds before `oldest`."""
        return SeenGradients({n: seen for n, seen in self._rounds.items() if n >= oldest})

    def to_rows(self) -> Rows:
        """All of them, `[N, 4]`: agent, incarnation, round, version; by round, then ascending."""
        rows = [self._rounds[number].rows for number in sorted(self._rounds)]
        return np.concatenate([np.empty((0, 4), np.int64), *rows])

    @classmethod
    def from_rows(cls, rows: NDArray[Any]) -> SeenGradients:
        """Undo `to_rows`; the order of the rows does not matter."""
        return cls().including((int(a), int(i), int(r), int(v)) for a, i, r, v in rows)
