"""TensorBoard's event files, through tensorboardX."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from metagenrl.runs.rows import MetricsRow
from metagenrl.runs.run_records import ScoreRow, SnapshotRow
from metagenrl.tracking.keys import find_key
from metagenrl.tracking.values import Values


class TensorBoardLog:
    """Scalars over environment steps, which is the only axis that TensorBoard has room for."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder))
        self._axes: dict[str, float] = {}  # last known value of each axis

    def log(self, values: Values, step: int) -> None:
        """A value is put at its axis's last known position."""
        for name, value in values.items():
            key, labels = find_key(name)
            axis = key.axis.replace("<agent>", labels.get("agent", ""))
            self._axes[axis] = values.get(axis, self._axes.get(axis, 0.0))
            if name != axis:
                self._writer.add_scalar(name, value, round(self._axes[axis]))

    def snapshot(self, row: SnapshotRow) -> None:
        """TensorBoard keeps no files."""

    def score(self, row: ScoreRow) -> None:
        """The score is among the values."""

    def remember(self, rows: list[MetricsRow]) -> None:
        """TensorBoard shows values, no rows."""

    def finish(self) -> None:
        self._writer.close()
