"""How far the agents of a meta-test or baseline are: a bar each in a terminal, else lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from metagenrl.runs.agent_files import RowReader
from metagenrl.runs.agent_job import TraineeJob
from metagenrl.runs.rows import EvaluationRow

LINE_SECONDS = 10.0
"""Between lines about rounds where the output is not a terminal."""

logger = logging.getLogger(__name__)


class EvaluationProgress:
    """Follows the files of all seeds; a context, since a terminal must be left as it was."""

    def __init__(self, jobs: Sequence[TraineeJob], steps: int, console: Console) -> None:
        self.console, self.steps = console, steps
        self._readers = {job.seed: RowReader(job.rows) for job in jobs}
        self._rows: dict[int, dict[int, list[EvaluationRow]]] = {seed: {} for seed in self._readers}
        self._said_step, self._said_time = -1, -LINE_SECONDS
        self._bars = Progress(
            TextColumn("seed {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[last]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[int, TaskID] = {
            seed: self._bars.add_task(str(seed), total=steps, last="") for seed in self._readers
        }

    def __enter__(self) -> EvaluationProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        for reader in self._readers.values():
            reader.close()

    def say(self, line: str) -> None:
        """One line for the user and for the log."""
        logger.info(line)
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def poll(self, running: Sequence[int]) -> None:
        """Look for new evaluations; `running` are the seeds whose processes live."""
        for seed, reader in self._readers.items():
            for row in reader.new_rows():
                of_step = self._rows[seed].setdefault(row.steps, [])
                of_step[:] = [other for other in of_step if other.env != row.env] + [row]
                last = f"return {_shown(of_step)}"
                self._bars.update(self._tasks[seed], completed=row.steps, last=last)
        self._maybe_line(running)

    def _maybe_line(self, running: Sequence[int]) -> None:
        """A round is over when every running seed has been evaluated at the same step."""
        now = time.monotonic()
        if self.console.is_terminal or now - self._said_time < LINE_SECONDS:
            return
        if not running or not all(self._rows[seed] for seed in running):
            return
        step = min(max(self._rows[seed]) for seed in running)
        if step == self._said_step:
            return
        self._said_step, self._said_time = step, now
        returns = ", ".join(f"{seed}: {_shown(self._rows[seed][step])}" for seed in running)
        self.say(f"step {step:,} of {self.steps:,}, returns by seed: {returns}")

    def final(self, seed: int) -> str:
        """A finished seed's last return, as text."""
        return _shown(self._rows[seed][self.steps])


def _shown(rows: Sequence[EvaluationRow]) -> str:
    """The mean return of an evaluation in each environment, as text."""
    means = [row.return_mean for row in rows]
    return " / ".join("not finite" if mean is None else f"{mean:,.1f}" for mean in means)
