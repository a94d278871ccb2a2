"""Which runs a report is about: meta-training and the new agents' runs below some folders."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagenrl.runs.agent_files import evaluations
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.folder import RunIdentity
from metagenrl.runs.metrics_file import iter_rows
from metagenrl.runs.names import (
    CONFIG_FILE,
    EVALUATIONS_FILE,
    FACTS_FILE,
    IDENTITY_FILE,
    SEEDS_FOLDER,
)
from metagenrl.runs.rows import EvaluationRow

DEPTH = 6
"""Folders below a named one that are searched: STUDY/RUN/tests/ENVIRONMENT/learned is four deep."""

_INNER = frozenset({"checkpoints", "objectives", "server", "seeds", "wandb", "report"})

logger = logging.getLogger(__name__)


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
        """The environment."""
        return str(self.config["env"])

    @property
    def rule(self) -> str:
        """What trained the agents, in a word."""
        return str(self.facts.get("rule", self.config.get("algo", "unknown")))

    @property
    def label(self) -> str:
        """The same as the rows have it."""
        return str(self.facts.get("label", self.rule))

    @property
    def steps(self) -> int:
        """Environment steps of each agent."""
        return int(self.config["steps"])

    @property
    def agents(self) -> int:
        """Those that were to be trained, whether or not they have come to anything."""
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

    @property
    def none(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.training or self.tests or self.evolved)


def find_runs(folders: Iterable[Path]) -> Runs:
    """The runs that `folders` are or hold, each once; what is no run is passed over."""
    training, tests, evolved = [], [], []
    found = {path.resolve(): path for folder in folders for path in _run_folders(folder)}
    names = _names(list(found.values()))
    for path in found.values():
        values = load_mapping(path / CONFIG_FILE)
        if (path / EVALUATIONS_FILE).exists() or (path / SEEDS_FOLDER).is_dir():
            tests.append(TestRun(path, values, _json(path / FACTS_FILE) or {}))
        elif values.get("algo") == "epg":
            evolved.append(EvolvedRun(path, names[path]))
        elif "envs" in values and "algo" not in values:  # a population, not a meta-learner
            try:
                config = stored_config(TrainConfig, path / CONFIG_FILE)
            except ValueError as error:
                logger.warning("%s is left out: %s", path, error)
                continue
            training.append(TrainRun(path, names[path], config, _identity(path)))
    return Runs(training, [test for test in tests if "env" in test.config], evolved)


def _run_folders(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    if (folder / CONFIG_FILE).is_file():
        yield folder
    if depth == 0 or not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name not in _INNER and not entry.name.startswith("."):
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


def _json(path: Path) -> dict[str, Any] | None:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _identity(path: Path) -> RunIdentity | None:
    values = _json(path / IDENTITY_FILE)
    try:
        return None if values is None else RunIdentity(**values)
    except TypeError:  # of another version of this program
        return None
