"""Which runs a report is about: meta-training and the new agents' runs below some folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metagenrl.base.checks import require
from metagenrl.base.files.json_file import read_object
from metagenrl.runs.agent_files import evaluations
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import describe
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.machine.identity import RunIdentity, read_identity
from metagenrl.runs.metrics_file import iter_rows
from metagenrl.runs.names import (
    CONFIG_FILE,
    EVALUATIONS_FILE,
    FACTS_FILE,
    SEEDS_FOLDER,
)
from metagenrl.runs.rows import EvaluationRow

DEPTH = 6
"""Folders below a named one that are searched: STUDY/RUN/tests/ENVIRONMENT/learned is four deep."""

_INNER = frozenset({"checkpoints", "objectives", "server", "seeds", "wandb", "report"})


@dataclass(frozen=True)
class TrainRun:
    """A meta-training run."""

    path: Path
    name: str  # tells it from the others
    config: TrainConfig
    identity: RunIdentity | None


@dataclass(frozen=True)
class TestRun:
    """Agents that each trained alone: a meta-test or a baseline."""

    __test__ = False  # for pytest, which takes the name for a test's

    path: Path
    config: dict[str, Any]
    facts: dict[str, Any]  # of objective.json: label, rule and, of a learned one, its origin

    @property
    def env(self) -> str:
        """The environment; of a meta-learner that trains in several, empty."""
        return str(self.config["env"])

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments that an agent trains in: of a meta-learner, all of them."""
        several = self.config.get("envs")
        return tuple(map(str, several)) if isinstance(several, list) and several else (self.env,)

    @property
    def rule(self) -> str:
        """The rule that trained the agents, in a word."""
        return str(self.facts.get("rule", self.config.get("algo", "unknown")))

    @property
    def label(self) -> str:
        """The same as the rows have it, whose word counts where `objective.json` is missing."""
        if "label" in self.facts:
            return str(self.facts["label"])
        first = next(iter(self.rows()), None)
        return self.rule if first is None else first.label

    @property
    def steps(self) -> int:
        """Environment steps of each agent."""
        return int(self.config["steps"])

    @property
    def agents(self) -> int:
        """The agents that were to be trained, whether or not they were."""
        return int(self.config.get("seeds", 0))

    @property
    def version(self) -> int | None:
        """Of a learned objective."""
        version = self.facts.get("version")
        return None if version is None else int(version)

    @property
    def trained_in(self) -> tuple[str, ...] | None:
        """Environments of the meta-training; None for rules that were not meta-trained."""
        environments = self.facts.get("environments")
        return None if environments is None else tuple(environments)

    def rows(self) -> list[EvaluationRow]:
        """Its evaluations, also while it is still running."""
        merged = self.path / EVALUATIONS_FILE
        if merged.exists():
            rows = iter_rows(merged, EvaluationRow.kind)
            return [row for row in rows if isinstance(row, EvaluationRow)]
        files = sorted((self.path / SEEDS_FOLDER).glob("seed-*.jsonl"))
        return [row for file in files for row in evaluations(file)]


@dataclass(frozen=True)
class EvolvedRun:
    """A loss that is evolved (EPG)."""

    path: Path
    name: str  # tells it from the others


@dataclass(frozen=True)
class Runs:
    """Everything that a report shows."""

    training: Sequence[TrainRun]
    tests: Sequence[TestRun]
    evolved: Sequence[EvolvedRun] = ()
    damaged: Mapping[Path, str] = field(default_factory=dict)
    """Folders of runs whose files cannot be read, and why."""

    @property
    def none(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.training or self.tests or self.evolved)


def find_runs(folders: Iterable[Path]) -> Runs:
    """The runs that `folders` are or hold, each once; what is no run is passed over."""
    training, tests, evolved = [], [], []
    found = {path.resolve(): path for folder in folders for path in _run_folders(folder)}
    names = _names(list(found.values()))
    damaged: dict[Path, str] = {}
    for path in found.values():
        try:
            values = load_mapping(path / CONFIG_FILE)
            if (path / EVALUATIONS_FILE).exists() or (path / SEEDS_FOLDER).is_dir():
                ours = "env" in values or ("seeds" in values and values.get("algo") != "epg")
                tests += [_test_run(path, values)] if ours else []
            elif values.get("algo") == "epg":
                evolved.append(EvolvedRun(path, names[path]))
            elif "envs" in values and "algo" not in values:  # a population, not a meta-learner
                config = stored_config(TrainConfig, path / CONFIG_FILE)
                training.append(TrainRun(path, names[path], config, read_identity(path)))
        except ValueError as error:
            damaged[path] = str(error)
    return Runs(training, tests, evolved, damaged)


def _test_run(path: Path, values: dict[str, Any]) -> TestRun:
    """Raises `ValueError` where its files cannot be what such a run writes."""
    run = TestRun(path, values, _facts(path))
    agent = values.get("agent")
    agent = agent if isinstance(agent, dict) else {}
    for name, kind, there in (
        ("env", str, values.get("env")),
        ("steps", int, values.get("steps")),
        ("seeds", int, values.get("seeds", 0)),
        ("eval_episodes", int, values.get("eval_episodes", 0)),
        ("agent.learning_starts", int, agent.get("learning_starts", 0)),
    ):
        require(isinstance(there, kind), f"{path / CONFIG_FILE}: {name}", there, describe(kind))
    version, environments = run.facts.get("version"), run.facts.get("environments", [])
    file = path / FACTS_FILE
    require(version is None or isinstance(version, int), f"{file}: version", version, "a number")
    require(isinstance(environments, list), f"{file}: environments", environments, "a list")
    return run


def _run_folders(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    if (folder / CONFIG_FILE).is_file():
        yield folder
    if depth == 0 or not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        hidden = entry.name in _INNER or entry.name.startswith(".")
        if not hidden and Path(entry.path).is_dir():  # of a link in a circle `entry` raises
            yield from _run_folders(Path(entry.path), depth - 1)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Folder names, with as many parents as it takes to tell them apart."""
    names = {}
    for path in paths:
        parts = path.resolve().parts
        length = 1
        while length < len(parts) and any(
            other.resolve().parts[-length:] == parts[-length:] for other in paths if other != path
        ):
            length += 1
        names[path] = "/".join(parts[-length:])
    return names


def _facts(path: Path) -> dict[str, Any]:
    """The facts in `objective.json`, none where there is no such file."""
    return read_object(path / FACTS_FILE) if (path / FACTS_FILE).exists() else {}
