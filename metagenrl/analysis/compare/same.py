"""Which runs of a comparison are of one rule: labels that say what differs, and repeated agents.

Two runs are of one rule where the hyper-parameters are equal and, of a learned objective, its
parameters. The version number and the file's checksum do not decide: two meta-training runs reach
the same version, and the checksum covers the run's id and date as well. Runs of one rule whose
evaluations have different numbers of episodes are told apart, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.report.discover import TestRun
from metagenrl.base.checks import UsageError
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.names import CONFIG_FILE, COPY_FILE, POLICIES_FOLDER
from metagenrl.runs.resume import leaves

EPISODES = "eval_episodes"
_BESIDE = frozenset({
    "env", "env_start_timeout", "run_dir", "resume", "take_over", "seeds", "first_seed", "steps",
    "workers", "wandb", "eval_every", EPISODES, "objective", "version",
})  # fmt: skip
"""Fields that have no say in what trains an agent, or that are compared elsewhere."""
_WITHOUT_BUFFER = {str(rule) for rule, traits in BASELINES.items() if not traits.fills_a_buffer}
PARAMETERS = "objective"
_SHOWN = 12  # digits of a checksum


def labels(runs: Sequence[TestRun]) -> dict[Path, str]:
    """The label of each run by its folder; where one label has several rules, with what differs.

    `td3` becomes `td3 (gamma=0.5)` and `td3 (gamma=0.99)`.
    """
    return told_apart(runs, {run.path: run.label for run in runs})


def told_apart(
    runs: Sequence[TestRun], names: Mapping[Path, str], pooled: Set[str] = frozenset()
) -> dict[Path, str]:
    """The name of each run, with what differs where runs of one name are of several rules.

    `pooled` are fields that may differ. Numbers of evaluation episodes are compared in each
    environment: nothing pools returns of two environments.
    """
    identities = {
        run.path: {n: v for n, v in _identity(run).items() if n not in pooled} for run in runs
    }
    found = {}
    for run in runs:
        of_name = [other for other in runs if names[other.path] == names[run.path]]
        known = [identities[other.path] for other in of_name]
        fields = sorted({field for identity in known for field in identity})
        differing = [f for f in fields if len({repr(identity.get(f)) for identity in known}) > 1]
        own = identities[run.path]
        if len({episodes(other) for other in of_name if other.env == run.env}) > 1:
            differing.append(EPISODES)
            own = own | {EPISODES: episodes(run)}
        words = ", ".join(f"{f.rpartition('.')[2]}={own.get(f, 'none')}" for f in differing)
        found[run.path] = f"{names[run.path]} ({words})" if words else names[run.path]
    return found


def require_distinct(agents: Sequence[tuple[str, str, int, Path]]) -> None:
    """Refuse an agent, by label, environment and seed, that two folders hold.

    Raises `UsageError` that names both folders.
    """
    held: dict[tuple[str, str, int], Path] = {}
    for label, env, seed, folder in agents:
        first = held.setdefault((label, env, seed), folder)
        if first != folder:
            raise UsageError(
                f"runs: got seed {seed} of {label} in {env} twice ({first} and {folder}), "
                "allowed: each seed of a rule once"
            )


def repeated(runs: Sequence[TestRun]) -> dict[Path, Path]:
    """Runs that hold an agent of an earlier one, a copy for one, and that one's folder."""
    names = labels(runs)
    held: dict[tuple[Any, ...], Path] = {}
    found = {}
    for run in runs:
        rule = (names[run.path], run.facts.get("run"), run.version, run.steps)
        agents = {(*rule, row.env, row.seed): run.path for row in run.rows()}
        first = next((held[agent] for agent in agents if agent in held), None)
        if first is None:
            held |= agents
        else:
            found[run.path] = first
    return found


def episodes(run: TestRun) -> int | None:
    """Episodes of each evaluation; None where the run's folder does not tell."""
    found = _configuration(run).get(EPISODES)
    return None if found is None else int(found)


def learning_starts(run: TestRun) -> int:
    """Steps after which an evaluation is one of a trained policy; 0 where no field tells."""
    agent = _configuration(run).get("agent")
    if run.rule in _WITHOUT_BUFFER or not isinstance(agent, dict):
        return 0
    return int(agent.get("learning_starts", 0))


def _identity(run: TestRun) -> dict[str, Any]:
    values = {n: v for n, v in leaves(_configuration(run)) if n.partition(".")[0] not in _BESIDE}
    found = parameters_of(run)
    return values if found is None else values | {PARAMETERS: found}


def _configuration(run: TestRun) -> dict[str, Any]:
    """All its fields; what a folder by another program wrote counts as it stands."""
    cls = BaselineConfig if "algo" in run.config else MetaTestConfig
    try:
        return to_dict(stored_config(cls, run.path / CONFIG_FILE))
    except ValueError:
        return run.config


def digest(alpha: NDArray[np.float32]) -> str:
    """A checksum of an objective's parameters alone."""
    return hashlib.sha256(alpha.tobytes()).hexdigest()[:_SHOWN]


def parameters_of(run: TestRun) -> str | None:
    """A checksum of the objective's parameters alone; None where the run keeps no objective."""
    copy = run.path / COPY_FILE
    if copy.is_file():
        return digest(ObjectiveSnapshot.load(copy).alpha)
    policies = sorted((run.path / POLICIES_FOLDER).rglob("*"))
    if not policies:
        return None
    whole = hashlib.sha256()
    for path in (path for path in policies if path.suffix in (".safetensors", ".npz")):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:_SHOWN]
