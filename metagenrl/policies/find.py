"""The policies that a run has kept: of a test or baseline by seed, of a population by agent."""

from __future__ import annotations

from pathlib import Path

import torch

from metagenrl.base.checks import UsageError
from metagenrl.base.files.checkpoint_folder import newest_complete, read_folder
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.policies.kept import SUFFIX, KeptPolicy, facts_of, policy_path
from metagenrl.runs.checkpoints import agent_part
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import check_is_run
from metagenrl.runs.kinds import described
from metagenrl.runs.names import CHECKPOINTS, CONFIG_FILE, SEEDS_FOLDER


def kept_seeds(run: Path) -> list[int]:
    """Seeds (of a test or baseline) or agents (of a population) whose policies are there."""
    seeds = (run / SEEDS_FOLDER).glob(f"seed-*{SUFFIX}")
    found = sorted(int(p.name.removesuffix(SUFFIX).removeprefix("seed-")) for p in seeds)
    checkpoint = None if found else newest_complete(run / CHECKPOINTS)
    if checkpoint is None:
        return found
    return sorted(
        int(p.stem.removeprefix("agent-")) for p in checkpoint.glob("agent-*.safetensors")
    )


def kept_policy(run: Path, seed: int | None = None) -> KeptPolicy:
    """A run's policy; without `seed`, its first one.

    Raises `UsageError`, one line, where there is none, or the file is damaged.
    """
    check_is_run("run", run)
    there = kept_seeds(run)
    if not there:
        raise UsageError(
            f"run: got {str(run)!r} ({described(run)}: no policy in it), allowed: a finished test "
            "or baseline of this release (rl2 keeps a recurrent one, for `metagenrl test`), or a "
            "population with a checkpoint"
        )
    chosen = there[0] if seed is None else seed
    if chosen not in there:
        raise UsageError(f"seed: got {chosen}, allowed: {', '.join(map(str, there))}")
    try:
        path = policy_path(run / SEEDS_FOLDER, chosen)
        return KeptPolicy.load(path) if path.is_file() else _of_population(run, chosen)
    except ValueError as error:
        raise UsageError(f"run: got {str(run)!r} ({error}), allowed: an undamaged run") from error


def _of_population(run: Path, agent: int) -> KeptPolicy:
    """The agent's policy in the newest checkpoint."""
    config = stored_config(TrainConfig, run / CONFIG_FILE, "run")
    checkpoint = newest_complete(run / CHECKPOINTS)
    assert checkpoint is not None
    state = read_folder(checkpoint, [agent_part(agent)])[agent_part(agent)]
    env = str(state["rollout"]["environment"]["env_id"])
    facts = facts_of("population", env, agent, int(state["steps"]))
    net = AgentNetworks.of(config.agent, facts.observation_size, facts.action_size).policy
    views = net.layout.views(torch.tensor(state["actor_critic"]["phi"]).reshape(-1))
    return KeptPolicy(facts, {name: view.numpy() for name, view in views.items()})
