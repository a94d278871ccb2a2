"""Run commands a few at a time, each once: what is done already is not done again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

DONE = ".done"
METAGENRL = (sys.executable, "-c", "from metagenrl.commands.main import main; main()")


@dataclass(frozen=True)
class Job:
    """One command and the run folder that it makes."""

    folder: Path
    words: tuple[str, ...]
    after: tuple[Path, ...] = field(default=())  # run folders that must be done before
    program: tuple[str, ...] = METAGENRL  # or another that takes --run-dir and --resume

    @property
    def done(self) -> bool:
        """Whether the command has come to its end before."""
        return (self.folder / DONE).exists()

    def command(self) -> list[str]:
        """The command line; one that was interrupted goes on where it stood."""
        started = (self.folder / "config.yaml").exists()
        program = list(self.program)
        if started and self.words[0] == "train":
            return [*program, "train", "--resume", str(self.folder)]
        resume = ["--resume"] if started else []
        return [*program, *self.words, "--run-dir", str(self.folder), *resume]


def run_all(jobs: Sequence[Job], parallel: int) -> None:
    """Run the jobs, `parallel` at a time, in order but for those that wait for others.

    Raises `SystemExit` with 1 where one fails, after the others have ended.
    """
    with ThreadPoolExecutor(parallel) as pool:
        failed = [job for job, ok in zip(jobs, pool.map(_run, jobs), strict=True) if not ok]
    for job in failed:
        print(f"failed: {job.folder} (see {job.folder}.log)", file=sys.stderr)
    if failed:
        raise SystemExit(1)


def _run(job: Job) -> bool:
    if job.done:
        return True
    while not all((folder / DONE).exists() for folder in job.after):
        time.sleep(2.0)
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    # One BLAS thread a process: the jobs themselves share the cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(f"{job.folder}.log", "a") as log:
        code = subprocess.call(job.command(), stdout=log, stderr=log, env=environment)
    if code == 0:
        (job.folder / DONE).touch()
    print(f"{job.folder}: exit {code} after {time.monotonic() - began:.0f} s", flush=True)
    return code == 0
