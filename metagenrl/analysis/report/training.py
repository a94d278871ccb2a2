"""One meta-training run: its curves, its speed, and the faults that it survived."""

from __future__ import annotations

import functools

from metagenrl.analysis.pictures.meta_training import (
    meta_block,
    policies_block,
    population_blocks,
    series_panel,
)
from metagenrl.analysis.pictures.panels import Block
from metagenrl.analysis.report.contents import Fact, Facts, Picture, Section, Table, texts
from metagenrl.analysis.report.discover import TrainRun
from metagenrl.analysis.run_history import ROUTINE, RunHistory
from metagenrl.base.wording import counted
from metagenrl.runs.rate import duration


def training_section(run: TrainRun, history: RunHistory, index: int) -> Section:
    """Population curves and the objective's side of one run."""
    returns, lives = population_blocks(history)
    pictures = [
        Picture(f"population-{index}", returns),
        Picture(f"generations-{index}", lives),
        Picture(f"objective-{index}", meta_block(history)),
        Picture(f"policies-{index}", policies_block(history)),
        Picture(f"throughput-{index}", _throughput(history)),
    ]
    text = (
        "Returns while meta-training, exploration included, are a sign of health and no evidence: "
        "the objective changes along with the population. The cosine is the mean over pairs of "
        "agents; near 0, what one agent wants of the objective tells nothing of another."
    )
    tables = [_speed(history), *_faults(history)]
    return Section(
        f"training-{index}",
        f"Meta-training: {run.name}",
        text,
        [Facts("", [_routine(history)])],
        tables,
        pictures,
    )


def _throughput(history: RunHistory) -> Block:
    series = history.objective["agent_steps_per_s"]
    if not series.arrays()[0].size:
        return Block("Throughput", [])
    panel = functools.partial(
        series_panel, title="agent-steps per second", series=series,
    )  # fmt: skip
    return Block("Throughput", [panel])


def agent_steps(history: RunHistory) -> int:
    """Environment steps of the whole population."""
    return sum(row.steps for row in history.latest.values())


def _speed(history: RunHistory) -> Table:
    steps, last = agent_steps(history), history.last_version
    rate = steps / history.seconds if history.seconds else 0.0
    rows = [
        texts("agent-steps", f"{steps:,}"),
        texts("wall time", duration(history.seconds)),
        texts("agent-steps per second", f"{rate:,.1f}"),
        texts("memory at most", f"{history.memory / 1e9:,.1f} GB" if history.memory else "-"),
        texts("versions of the objective", f"{last.version:,}" if last else "0"),
    ]
    return Table("Work and time, all resumes included.", ["", "total"], rows)


def fault_counts(history: RunHistory) -> dict[str, int]:
    """The faults of a run, by how often; routine events are no faults."""
    counts = {what: n for what, n in sorted(history.events.items()) if what not in ROUTINE}
    last = history.last_version
    if last is not None:
        dropped = {"gradients too old": last.stale, "gradients twice": last.duplicate}
        dropped["gradients not finite or zero"] = last.rejected - last.stale - last.duplicate
        counts |= {what: n for what, n in dropped.items() if n > 0}
    return counts


def _faults(history: RunHistory) -> list[Table]:
    rows = [texts(what, f"{count:,}") for what, count in fault_counts(history).items()]
    tables = [Table("Faults survived.", ["what", "times"], rows)] if rows else []
    if history.faults:
        told = [
            texts(duration(f.time), "-" if f.agent is None else str(f.agent), f.message)
            for f in history.faults
        ]
        header = ["after", "agent", "what happened"]
        tables.append(Table("The last of them.", header, told, numeric=False))
    return tables


def _routine(history: RunHistory) -> Fact:
    events = history.events
    told = [counted(events[what], what) for what in ("checkpoint", "rebirth")]
    if events["joined"] or events["left"]:
        told.append(f"{counted(events['joined'], 'agent')} joined, {events['left']:,} left")
    if events["paused"]:
        told.append(counted(events["paused"], "pause"))
    counts = ", ".join(told)
    if fault_counts(history):
        return Fact(f"Faults: see below ({counts}).", "warning")
    return Fact(f"Faults: none ({counts}).", "good")
