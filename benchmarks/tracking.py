"""What Weights & Biases costs a population: rounds with it (offline) against none, in turns.

    python -m benchmarks.tracking --wandb offline --seconds 20

prints one JSON line. All processes of a run, the tracker's included, share one core, so that what
the tracker takes is missing elsewhere; `quickstart` is the preset with the most rows a second.
Starting up and ending are not counted: they are done once.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
import tyro

from metagenrl.base.process import settle
from metagenrl.cluster.engines.placement import hosts_of
from metagenrl.cluster.parts import engine_of, held_out_tests, prepare_store
from metagenrl.cluster.population.loop import Population
from metagenrl.cluster.population.roster import Roster
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.meta_test.pool import TraineePool
from metagenrl.runs.checkpoints import Checkpoints
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import open_run
from metagenrl.tracking.follower import PROGRESS_FILE
from metagenrl.tracking.trackers import Tracking

PAIRS = 4
WARM_UP_ROUNDS = 210
"""Agents learn by then, and the tracker has shown rows of each kind, so that all is imported."""
READY_SECONDS = 120.0
_ENDLESS = 10**9  # steps


@dataclass(frozen=True)
class TrackingOptions:
    """One run."""

    wandb: Literal["offline", "disabled"] = "offline"
    """Whether it is tracked."""
    seconds: float = 20.0
    """Time that rounds are counted for."""


@dataclass(frozen=True)
class TrackedRun:
    """What one run did while its rounds were counted."""

    rounds_per_s: float
    handover_percent: float  # of the driver's time: what it does for trackers between rounds
    trackers_percent: float  # of a core: CPU of the trackers' processes


@dataclass(frozen=True)
class TrackingCost:
    """Runs with and without, in turns; the spread is that of the pairs."""

    pairs: int
    agents: int
    rounds_per_s: float  # without, median
    slower_percent: float  # with, median of the pairs
    slower_percent_min: float
    slower_percent_max: float
    handover_percent: float  # the largest
    trackers_percent: float  # the largest


class Window:
    """Counts rounds from when a run is ready: the population asks it before each."""

    def __init__(self, seconds: float, ready: Callable[[int], bool]) -> None:
        """`ready` is told the rounds so far."""
        self._seconds, self._ready, self._before = seconds, ready, 0
        self._created, self._begin, self._cpu = time.monotonic(), 0.0, 0.0
        self.rounds, self.handover, self.wall, self.trackers = 0, 0.0, 0.0, 0.0

    def __call__(self) -> bool:
        """Whether the run is to go on."""
        now = time.monotonic()
        if not self._begin:
            self._before += 1
            if self._ready(self._before - 1):
                self._begin, self._cpu, self.handover = now, _trackers_cpu(), 0.0
            elif now - self._created > READY_SECONDS:
                raise RuntimeError(f"the run was not ready after {READY_SECONDS:.0f} s")
            return True
        self.rounds += 1
        self.wall = now - self._begin
        if self.wall < self._seconds:
            return True
        self.trackers = _trackers_cpu() - self._cpu
        return False

    def timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, whose time counts as handing over."""

        def call(*args: Any) -> Any:
            begin = time.perf_counter()
            try:
                return method(*args)
            finally:
                self.handover += time.perf_counter() - begin

        return call


def measure_run(options: TrackingOptions) -> TrackedRun:
    """Meta-train on one core for a while."""
    psutil.Process().cpu_affinity([min(os.sched_getaffinity(0))])  # its children's as well
    settle()
    with tempfile.TemporaryDirectory() as folder:
        config = tracked_config(options, Path(folder) / "run")
        progress = config.run_dir / "wandb" / PROGRESS_FILE

        def ready(rounds: int) -> bool:
            shown = rounds if options.wandb == "disabled" else _shown(progress)
            return min(rounds, shown) >= WARM_UP_ROUNDS

        window = Window(options.seconds, ready)
        Tracking.take = window.timed(Tracking.take)  # type: ignore[method-assign]
        Tracking.poll = window.timed(Tracking.poll)  # type: ignore[method-assign]
        _train(config, window)
    return TrackedRun(
        window.rounds / window.wall, 100 * window.handover / window.wall,
        100 * window.trackers / window.wall,
    )  # fmt: skip


def tracked_config(options: TrackingOptions, run_dir: Path) -> TrainConfig:
    """The preset without a checkpoint in the window; agents learn from the start."""
    preset = PRESETS["quickstart"].train
    starts = preset.agent.learning_starts
    return replace(
        preset, agent=replace(preset.agent, random_steps=starts), engine="inprocess",
        meta=replace(preset.meta, anneal_steps=0, lifetime=0, learning_rate_decay="none"),
        steps=_ENDLESS, checkpoint_every=_ENDLESS, run_dir=run_dir, wandb=options.wandb,
    )  # fmt: skip


def _train(config: TrainConfig, steer: Callable[[], bool]) -> None:
    """`metagenrl train`, less what begins and ends it."""
    identity = open_run(config)
    prepare_store(config, identity.id, None)
    recorder = Recorder(config, identity, None)
    engine, pool = engine_of(config, identity.id, hosts_of(config, None)), TraineePool(1)
    try:
        held_out = held_out_tests(config, pool, recorder)
        checkpoints = Checkpoints(config.run_dir, config.keep_checkpoints)
        roster = Roster(config, identity.id)
        Population(config, engine, roster, recorder, held_out, checkpoints, None).run(steer)
    finally:
        engine.close()
        recorder.close()


def _shown(progress: Path) -> int:
    """The round up to which the tracker has shown the run."""
    return int(json.loads(progress.read_bytes())["round"]) if progress.exists() else 0


def _trackers_cpu() -> float:
    """CPU seconds of the processes below this one, which are all the trackers'."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def tracking_cost(seconds: float, pairs: int = PAIRS) -> TrackingCost:
    """`pairs` runs of each kind; who comes first alternates."""
    runs: dict[str, list[TrackedRun]] = {"disabled": [], "offline": []}
    orders = itertools.cycle([("disabled", "offline"), ("offline", "disabled")])
    for order in itertools.islice(orders, pairs):
        for kind in order:
            runs[kind].append(_in_own_process(kind, seconds))
    slower = [
        100 * (without.rounds_per_s / tracked.rounds_per_s - 1)
        for without, tracked in zip(runs["disabled"], runs["offline"], strict=True)
    ]
    return TrackingCost(
        pairs, PRESETS["quickstart"].train.agents,
        statistics.median(run.rounds_per_s for run in runs["disabled"]),
        statistics.median(slower), min(slower), max(slower),
        max(run.handover_percent for run in runs["offline"]),
        max(run.trackers_percent for run in runs["offline"]),
    )  # fmt: skip


def _in_own_process(kind: str, seconds: float) -> TrackedRun:
    argv = [sys.executable, "-m", "benchmarks.tracking", "--wandb", kind]
    argv += ["--seconds", str(seconds)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(argv[2:])}: {run.stderr.strip()[-500:]}")
    return TrackedRun(**json.loads(run.stdout.splitlines()[-1]))


def main() -> None:
    """Carry out the command line."""
    print(json.dumps(asdict(measure_run(tyro.cli(TrackingOptions)))))


if __name__ == "__main__":
    main()
