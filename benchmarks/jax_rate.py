"""The agent-step in JAX, measured by the Python of an environment that has JAX."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.agreement import float64
from benchmarks.problem import Problem, preset_problem, synthetic_batch
from benchmarks.project import ProjectAgent
from metagenrl.learner.critic import td_gradient, td_target
from metagenrl.learner.types import Batch

SCRIPT = Path(__file__).with_name("jax_step.py")


@dataclass(frozen=True)
class JaxRate:
    """One agent-step at the paper's sizes on one core, updates alone."""

    version: str
    parameters: int  # of the objective, to compare with ours
    compile_s: float
    median_ms: float
    minimum_ms: float
    differences: dict[str, float]  # of JAX's gradients from ours, relative, in float64


def measure_jax(python: Path, repetitions: int) -> JaxRate:
    """Run `jax_step.py`. Raises `RuntimeError` with its last line where that fails."""
    problem = preset_problem("paper")
    sizes = {
        "observations": problem.observation_size,
        "actions": problem.action_size,
        "units": problem.agent.hidden_units,
        "batch": problem.agent.batch_size,
        "length": problem.agent.segment_length,
        "repetitions": repetitions,
    }
    with tempfile.TemporaryDirectory() as folder:
        same = Path(folder) / "same.npz"
        np.savez(same, **{name: x.numpy() for name, x in _our_gradients(problem).items()})
        argv = [str(python), str(SCRIPT), json.dumps(sizes), str(same)]
        run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{python}: {(run.stderr.strip().splitlines() or ['failed'])[-1]}")
    return JaxRate(**json.loads(run.stdout))


def _our_gradients(problem: Problem) -> dict[str, Tensor]:
    """Parameters, two minibatches and the project's gradients there, by `jax_step.py`'s names."""
    with float64():
        agent, generator = ProjectAgent(problem), torch.Generator().manual_seed(1)
        batches = [synthetic_batch(problem, generator) for _ in range(2)]
        ac, net = agent.actor_critic, agent.objective.learned.net
        policy, critic = ac.nets.policy.layout, ac.nets.critic.layout
        found = _network("state/phi", policy.views(ac.phi[0]))
        found |= _network("state/targets/phi", policy.views(ac.phi_target[0]))
        found |= _alpha("alpha", net.layout.views(agent.alpha))
        meta = agent.meta_gradient(*batches)
        found |= _alpha("gradients/objective", net.layout.views(meta))
        for i in range(2):
            found |= _network(f"state/theta/{i}", critic.views(ac.theta[i].clone()))
            found |= _network(f"state/targets/theta/{i}", critic.views(ac.theta_target[i]))
        _critic_gradient_without_noise(agent, batches[0])
        for i in range(2):
            found |= _network(f"gradients/critic/{i}", critic.views(ac.theta_gradient[i]))
    for i, batch in enumerate(batches):
        tensors = {"s": batch.observations, "a": batch.actions, "r": batch.rewards}
        tensors["d"] = batch.terminated
        found |= {f"batches/{i}/{name}": x for name, x in tensors.items()}
    return found


@torch.no_grad()
def _critic_gradient_without_noise(agent: ProjectAgent, batch: Batch) -> None:
    """Into `theta_gradient`: the two programs draw noise differently."""
    ac = agent.actor_critic
    noise = torch.zeros_like(batch.actions)[None]
    targets = (ac.phi_target_views, ac.theta_target_views)
    y = td_target(ac.nets, *targets, batch.alone, noise, agent.problem.agent.gamma)
    td_gradient(ac.nets, ac.theta_views, batch.alone, y, ac.theta_gradient_views)


def _network(prefix: str, views: dict[str, Tensor]) -> dict[str, Tensor]:
    """`w0 b0 gamma0 ... w_out b_out` by layer: `prefix/0/w`; the output layer is the last."""
    last = str(sum(name[0] == "w" and name != "w_out" for name in views))
    found = {}
    for name, view in views.items():
        kind = name.removesuffix("_out").rstrip("0123456789")
        layer = last if name.endswith("_out") else name[len(kind) :]
        found[f"{prefix}/{layer}/{kind}"] = view
    return found


def _alpha(prefix: str, views: dict[str, Tensor]) -> dict[str, Tensor]:
    """The objective's parts; JAX's LSTM has one matrix for its inputs and its state."""
    found = {}
    for part in ("action", "features", "head"):
        own = {k.partition("/")[2]: v for k, v in views.items() if k.startswith(f"{part}/")}
        found |= _network(f"{prefix}/{part}", own)
    names = ("w_action", "w_constant", "w_recurrent")
    found[f"{prefix}/lstm/w"] = torch.cat([views[f"lstm/{name}"] for name in names])
    return found | {f"{prefix}/lstm/b": views["lstm/b"]}
