"""The evolution of a loss (EPG): what its agents came to, generation by generation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metagenrl.analysis.number_text import short
from metagenrl.analysis.pictures.epg import epg_blocks
from metagenrl.analysis.report.contents import (
    Cell,
    Fact,
    Facts,
    Picture,
    Section,
    Table,
    texts,
)
from metagenrl.analysis.report.discover import EvolvedRun
from metagenrl.runs.metrics_file import Metrics, read_metrics
from metagenrl.runs.rows import AgentRow


def evolution_section(run: EvolvedRun, index: int) -> Section:
    """Returns of the first and the last generation, and all of them as a picture."""
    metrics = read_metrics(run.path)
    returns, loss = epg_blocks(metrics)
    text = (
        "Evolved Policy Gradients: each generation's perturbed losses train one agent each, whose "
        "return is the loss's fitness. It rises where evolution finds losses that train better; "
        "how the loss does in an environment that it was not evolved in, only a meta-test tells."
    )
    rows = [_progress(env, metrics.agents) for env in dict.fromkeys(r.env for r in metrics.agents)]
    header = ["environment", "generations", "return in the first", "in the last", "best"]
    caption = "Mean return of a generation's agents; the best is of any generation."
    return Section(
        f"evolution-{index}",
        f"Evolution: {run.name}",
        text,
        [Facts("", [_loops(metrics)])],
        [Table(caption, header, rows)] if rows else [],
        [Picture(f"evolution-{index}", returns), Picture(f"evolved-loss-{index}", loss)],
    )


def _loops(metrics: Metrics) -> Fact:
    """Inner loops that gave no agent."""
    last = metrics.objective[-1] if metrics.objective else None
    if last is None:
        return Fact("No generation is complete yet.", "warning")
    text = f"Inner loops: {last.accepted:,} done, {last.rejected:,} failed."
    return Fact(text, "warning" if last.rejected else "good")


def _progress(env: str, agents: Sequence[AgentRow]) -> list[Cell]:
    """An environment's row of the table."""
    known = [row for row in agents if row.env == env and row.return_mean is not None]
    generations = sorted({row.life for row in known})
    means = [
        float(np.mean([row.return_mean for row in known if row.life == generation]))
        for generation in generations
    ]
    if not means:
        return texts(env, "0", "-", "-", "-")
    return texts(env, f"{len(means):,}", short(means[0]), short(means[-1]), short(max(means)))
