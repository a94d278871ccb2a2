"""The complete states of a run, by round."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.files.checkpoint_folder import newest_complete, prune, read_folder, write_folder
from metagenrl.runs.names import CHECKPOINTS

logger = logging.getLogger(__name__)


def agent_part(agent: int) -> str:
    """Name of an agent's state within a checkpoint."""
    return f"agent-{agent:04d}"


class LazyParts(Mapping[str, Mapping[str, Any]]):
    """States that are fetched one at a time while a checkpoint is written: replay is large."""

    def __init__(self, fetch: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
        self._fetch = fetch

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._fetch[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fetch)

    def __len__(self) -> int:
        return len(self._fetch)


class Checkpoints:
    """The complete states of a run, by round."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self._folder, self._keep = run_dir / CHECKPOINTS, keep
        self.error: OSError | None = None
        """Why the last one could not be written, None where it could."""

    def save(
        self,
        round_index: int,
        fetch: Mapping[str, Callable[[], Mapping[str, Any]]],
        again: bool = False,
    ) -> bool:
        """Write one; a full disk is logged and tried again at the next, training goes on.

        `again`: beside the round's own, since something other than a round changed the state.
        """
        name = f"round-{round_index:09d}"
        if again:
            names = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(1)))
            name = next(free for free in names if not (self._folder / free).exists())
        try:
            write_folder(self._folder, name, LazyParts(fetch))
            prune(self._folder, self._keep)
        except FileExistsError:
            self.error = None
            return True
        except OSError as error:
            self.error = error
            logger.error("checkpoint failed: %s", (error.strerror or str(error)).lower())
            return False
        self.error = None
        return True

    def require_sound(self) -> None:
        """Raise `ValueError` where there are checkpoints and none can be used.

        Without this a resumed run would begin again from nothing.
        """
        there = list(self._folder.glob("round-*"))
        if there and newest_complete(self._folder) is None:
            raise ValueError(
                f"resume: got '{self._folder.parent}' (none of its {len(there)} checkpoints is "
                "complete and undamaged), allowed: a run with a sound checkpoint, or with none yet"
            )

    def load(self, parts: list[str] | None = None) -> dict[str, dict[str, Any]] | None:
        """The newest complete checkpoint's states, or None where there is none."""
        path = newest_complete(self._folder)
        if path is None:
            return None
        if parts is None:
            logger.info("going on from %s", path.name)
        return read_folder(path, parts)
