"""What the evolution of a loss tells the world: metrics, log, and lines on the terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from metagenrl.baselines.epg.inner_loop import InnerLoopResult
from metagenrl.cluster.epg.loops import LoopEnded
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.rate import RateMeter, duration, seconds_left
from metagenrl.runs.rows import AgentRow, EventRow, MetricsRow, ObjectiveRow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generation:
    """A generation that is complete."""

    index: int
    ends: Sequence[LoopEnded]  # by noise vector
    ppo_weight: float
    gradient_norm: float
    update_norm: float
    phi_norm: float


def inner_loop_bar(console: Console) -> Progress:
    """A line for each seed in a terminal, nothing elsewhere; a context."""
    return Progress(
        TextColumn("seed {task.fields[seed]}, generation {task.description}"), BarColumn(),
        MofNCompleteColumn(), TextColumn("inner loops"), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip


class EpgRecorder:
    """A context: it owns the file of metrics, and a line of the bar."""

    def __init__(self, config: EpgTrainConfig, console: Console, bar: Progress) -> None:
        self._config, self._console, self._bar = config, console, bar
        self._writer = MetricsWriter(config.run_dir / METRICS_FILE)
        self._elapsed, self._began = 0.0, time.monotonic()
        self.agent_steps = self._failed = 0
        self._meter = RateMeter()
        self._task = bar.add_task("", total=config.evolution.noise_vectors, seed=config.seed)

    def __enter__(self) -> EpgRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    @property
    def seconds(self) -> float:
        """Time that the run has taken, over all its processes."""
        return self._elapsed + time.monotonic() - self._began

    def say(self, line: str) -> None:
        """One line for the user and for the log."""
        line = f"seed {self._config.seed}: {line}"
        logger.info(line)
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def begin(self, generation: int) -> None:
        """A generation's inner loops begin."""
        self._bar.update(self._task, completed=0, description=str(generation))

    def ended(self, generation: int, end: LoopEnded) -> None:
        """One of them came to its end."""
        self._bar.advance(self._task)
        if end.result is None:
            self._failed += 1
            message = f"inner loop failed: {end.failure}"
            self.say(f"noise vector {end.index}: {message} (see run.log)")
            self._writer.write([EventRow(self.seconds, generation, "failed", end.index, message)])

    def generation(self, done: Generation) -> None:
        """Write the rows of a generation and say what it came to."""
        self.agent_steps += sum(end.result.steps for end in done.ends if end.result)
        rate = self._meter.add(self.seconds, self.agent_steps)
        rows: list[MetricsRow] = [
            self._agent_row(done.index, end.index, end.result) for end in done.ends if end.result
        ]
        contributors = len(rows)
        rows.append(
            ObjectiveRow(
                time=self.seconds, round=done.index, version=done.index + 1,
                contributors=contributors, gradient_norm=done.gradient_norm,
                update_norm=done.update_norm, alpha_norm=done.phi_norm, cosine=None,
                cosine_by_env={}, accepted=contributors + self._accepted(done.index),
                rejected=self._failed, stale=0, duplicate=0, agent_steps=self.agent_steps,
                agent_steps_per_s=rate,
            )
        )  # fmt: skip
        self._writer.write(rows)
        self._say_generation(done, rate)

    def _accepted(self, generation: int) -> int:
        """Inner loops of the generations before that did not fail."""
        return generation * self._config.evolution.noise_vectors - self._failed

    def _say_generation(self, done: Generation, rate: float | None) -> None:
        returns: dict[str, list[float]] = {env: [] for env in self._config.environments}
        for end in done.ends:
            if end.result and np.isfinite(end.result.fitness):
                returns[self._config.env_of(end.index)].append(end.result.fitness)
        known = (f"{env} {np.mean(r):,.1f} (best {max(r):,.1f})" for env, r in returns.items() if r)
        total = self._config.evolution.generations
        goal = total * self._config.evolution.noise_vectors * self._config.loop_steps
        left = duration(seconds_left(self.agent_steps, goal, rate))
        self.say(
            f"generation {done.index + 1} of {total}: returns {', '.join(known)}, "
            f"PPO weight {done.ppo_weight:.2f}, {left} left"
        )

    def _agent_row(self, generation: int, vector: int, result: InnerLoopResult) -> AgentRow:
        """An inner loop as one life of the agent of its noise vector; the return is its fitness."""
        c = self._config
        finite = np.isfinite(result.fitness)
        return AgentRow(
            time=self.seconds, round=generation, version=generation, agent=vector,
            env=c.env_of(vector), incarnation=0, steps=(generation + 1) * c.loop_steps,
            life=generation, life_steps=result.steps, state="learning" if finite else "diverged",
            episodes=c.fitness_episodes if finite else 0,
            return_mean=result.fitness if finite else None, return_last=result.last_return,
            episode_length=result.episode_length, q=None, td_loss=None,
            objective_loss=result.loss, policy_gradient_norm=result.policy_gradient_norm,
            gradient_norm=None, value_after=None, lag=0, restarts=0,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Totals of the run."""
        totals = {"agent_steps": self.agent_steps, "failed": self._failed}
        return totals | {"elapsed": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any], generation: int) -> None:
        """Restore; rows of `generation` and later ones will be written again."""
        self.agent_steps, self._failed = int(state["agent_steps"]), int(state["failed"])
        self._elapsed = float(state["elapsed"])
        self._writer.truncate_after(generation - 1)
