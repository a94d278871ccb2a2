"""What agents leave behind when a population shrinks: `left/agent-NNNN/` in the run's folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.files.checkpoint_folder import newest_complete, prune, read_folder, write_folder
from metagenrl.runs.checkpoints import agent_part
from metagenrl.runs.names import LEFT_FOLDER

_PART = "agent"


class Departures:
    """The complete state of each agent that left, of the last time it did."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / LEFT_FOLDER

    def keep(
        self, agent: int, incarnation: int, round_index: int, state: Mapping[str, Any]
    ) -> None:
        """Write an agent's state. Raises `OSError`; an earlier departure's is then still there."""
        parent = self._folder / agent_part(agent)
        name = f"round-{round_index:09d}-incarnation-{incarnation}"
        self._folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            write_folder(parent, name, {_PART: state})
        prune(parent, 1)

    def state_of(self, agent: int) -> dict[str, Any] | None:
        """The state an agent left behind, or None where there is none that is complete."""
        path = newest_complete(self._folder / agent_part(agent))
        return None if path is None else read_folder(path)[_PART]
