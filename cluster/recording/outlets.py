"""Where a run's rows go: the file of metrics, the trackers, the live view and its warnings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from metagenrl.cluster.view.live import LiveView
from metagenrl.cluster.view.status import RunStatus
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.rows import AgentRow, MetricsRow
from metagenrl.tracking.trackers import Tracking


class Outlets:
    """Rows come together and are written at once; the view shows them and the program's log."""

    def __init__(self, metrics: Path, last_round: int, tracking: Callable[[], Tracking]) -> None:
        """Rows of rounds after `last_round` are dropped before `tracking` begins to follow."""
        self._writer = MetricsWriter(metrics)
        self._writer.truncate_after(last_round)
        self.kept = self._writer.kept  # rows
        self._tracking = tracking()
        self._rows: list[MetricsRow] = []
        self._view = LiveView()
        self._handler = self._view.handler()
        self._handler.setLevel(logging.WARNING)
        logging.getLogger("metagenrl").addHandler(self._handler)
        self._view.__enter__()

    def add(self, row: MetricsRow) -> None:
        """A row to be written."""
        self._rows.append(row)

    def add_agents(self, rows: Sequence[AgentRow]) -> None:
        """Agents' rows, which the view remembers."""
        self._view.remember(rows)
        self._rows.extend(rows)

    def flush(self) -> None:
        """Write what has come together."""
        rows, self._rows = self._rows, []
        if rows:
            self._writer.write(rows)
            self._tracking.take(rows)

    def show(self, status: Callable[[], RunStatus]) -> None:
        """Let trackers and view say what is new; neither waits."""
        self._tracking.poll()
        self._view.update(status)

    def close(self, status: Callable[[], RunStatus]) -> None:
        """Write and show what is left; wait for nothing but the trackers, and not for long."""
        self.flush()
        self._writer.close()
        self._view.update(status, force=True)
        self._tracking.close()
        self._view.__exit__(None, None, None)
        logging.getLogger("metagenrl").removeHandler(self._handler)
