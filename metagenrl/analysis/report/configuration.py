"""What was run: every run in a line, what differs from the paper, and the complete files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from metagenrl.analysis.number_text import brief
from metagenrl.analysis.report.contents import Section, Table, texts
from metagenrl.analysis.report.discover import Runs
from metagenrl.analysis.report.variants import computes
from metagenrl.analysis.run_history import RunHistory
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict, to_yaml
from metagenrl.runs.rate import duration
from metagenrl.runs.resume import leaves

_IN_RUNS = frozenset({"envs", "agents", "steps", "seed"})  # columns of the table of runs


def configuration_section(runs: Runs, histories: Mapping[Path, RunHistory]) -> Section:
    """The configurations of the meta-training runs."""
    if not runs.training:
        return Section("configuration", "Configuration")
    listings = [(f"{run.name}: config.yaml", to_yaml(run.config)) for run in runs.training]
    for run in runs.training[:1]:
        if run.identity is not None:
            versions = "\n".join(f"{name} {v}" for name, v in run.identity.versions.items())
            computed = f"computed by: {', '.join(run.identity.backends) or 'not recorded'}"
            text = f"{run.identity.machine}\n{computed}\n{versions}"
            listings.append((f"{run.name}: versions", text))
    tables = [_runs(runs, histories), *_differences(runs)]
    return Section("configuration", "Configuration", tables=tables, listings=listings)


def _runs(runs: Runs, histories: Mapping[Path, RunHistory]) -> Table:
    header = ["run", "environments", "agents", "steps", "seed", "versions", "time", "started"]
    rows = []
    for run in runs.training:
        history, config = histories[run.path], run.config
        version = history.last_version.version if history.last_version else 0
        begun = time.gmtime(run.identity.created) if run.identity else None
        rows.append(
            texts(
                run.name, ", ".join(map(brief, config.envs)), str(config.agents),
                f"{config.steps:,}", str(config.seed), f"{version:,}", duration(history.seconds),
                time.strftime("%Y-%m-%d %H:%M UTC", begun) if begun else "-",
            )
        )  # fmt: skip
    return Table("Meta-training runs; steps are those of each agent.", header, rows)


def _differences(runs: Runs) -> list[Table]:
    """Fields in which any run differs from the paper's hyper-parameters."""
    paper = dict(leaves(to_dict(TrainConfig())))
    configs = [dict(leaves(to_dict(run.config))) for run in runs.training]
    rows = [
        texts(name, str(value), *(str(config[name]) for config in configs))
        for name, value in paper.items()
        if computes(name)
        and name not in _IN_RUNS
        and any(config[name] != value for config in configs)
    ]
    if not rows:
        return []
    header = ["field", "paper", *(run.name for run in runs.training)]
    return [Table("Where it differs from the paper (Tables 3 and 4).", header, rows)]
