"""The agent-step in JAX, measured by the Python of an environment that has JAX."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.problem import preset_problem

SCRIPT = Path(__file__).with_name("jax_step.py")


@dataclass(frozen=True)
class JaxRate:
    """One agent-step at the paper's sizes on one core, updates alone."""

    version: str
    parameters: int  # of the objective, to compare with ours
    compile_s: float
    median_ms: float
    minimum_ms: float


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
    argv = [str(python), str(SCRIPT), json.dumps(sizes)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{python}: {(run.stderr.strip().splitlines() or ['failed'])[-1]}")
    return JaxRate(**json.loads(run.stdout))
