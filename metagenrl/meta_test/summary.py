"""What a meta-test or baseline came to, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metagenrl.analysis.confidence import mean_interval
from metagenrl.base.wording import counted
from metagenrl.meta_test.tested_objective import TestedObjective
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.rate import duration
from metagenrl.runs.rows import EvaluationRow


def summary(
    config: MetaTestConfig | BaselineConfig,
    tested: TestedObjective,
    rows: Sequence[EvaluationRow],
    seconds: float,
) -> list[str]:
    """The lines that end the command; `seconds` is the time this command took.

    They are as long as they have to be: a path that is cut cannot be copied.
    """
    finished = len({row.seed for row in rows if row.steps == config.steps})
    lines = [
        ("objective", tested.label),
        ("environment", f"{', '.join(config.environments)}, {familiarity(tested)}"),
        ("seeds", f"{finished} of {config.seeds} finished, {counted(config.steps, 'step')} each"),
        *_returns(config, tested, rows),
        *_cut(config, rows),
        ("wall time", duration(seconds)),
        ("run folder", str(config.run_dir)),
    ]
    width = max(len(name) for name, _ in lines)
    return [f"{name:<{width}}  {text}" for name, text in lines]


def _returns(
    config: MetaTestConfig | BaselineConfig,
    tested: TestedObjective,
    rows: Sequence[EvaluationRow],
) -> list[tuple[str, str]]:
    """At the end and at the start, for each environment; of fixed weights, once."""
    moments = [("final return", config.steps), ("untrained policy", 0)]
    if "learning" in tested.facts:
        moments = [("return of a trial's last episode", config.steps)]
    lines = []
    for env in config.environments:
        where = f" in {env}" if len(config.environments) > 1 else ""
        of_env = [row for row in rows if row.env == env]
        for name, steps in moments:
            lines.append((name + where, mean_and_interval(returns_at(of_env, steps))))
    return lines


def _cut(
    config: MetaTestConfig | BaselineConfig, rows: Sequence[EvaluationRow]
) -> list[tuple[str, str]]:
    """How many evaluation episodes had no end of their own."""
    cut, every = sum(row.cut for row in rows), sum(len(row.returns) for row in rows)
    text = f"{cut:,} of {every:,} evaluation episodes after {config.eval_max_steps:,} steps"
    return [("cut", f"{text} (no time limit; --eval-max-steps)")] if cut else []


def familiarity(tested: TestedObjective) -> str:
    """Whether the objective knows the environment, in words."""
    if tested.environments is None:
        return "no meta-training"
    if tested.facts.get("phase") == "train":
        return "meta-training"
    if tested.seen:
        return "seen in meta-training"
    related = tested.facts.get("seen_with")
    other = f", which was in {', '.join(related)}" if related else ""
    return f"not seen in meta-training{other}"


def returns_at(rows: Sequence[EvaluationRow], steps: int) -> list[float]:
    """Each seed's mean return at `steps`."""
    return [r.return_mean for r in rows if r.steps == steps and r.return_mean is not None]


def mean_and_interval(values: Sequence[float]) -> str:
    """Mean over seeds and its 95 % interval by Student's t; seeds are few."""
    if not values:
        return "none"
    estimate = mean_interval(values)
    if math.isnan(estimate.half_width):
        return f"{estimate.mean:,.1f} (one seed, no interval)"
    low, high = estimate.mean - estimate.half_width, estimate.mean + estimate.half_width
    interval = f"95 % interval {low:,.1f} to {high:,.1f}"
    return f"{estimate.mean:,.1f}, {interval} over {len(values)} seeds"
