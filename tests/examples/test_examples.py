"""The examples: they run, and the learned objective trains where an untrained one does not."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import metagenrl
from metagenrl.objective_server.snapshots.pretrained import pretrained_names

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/v0.1/cohort/objectives/objective-00000076.safetensors"
ENV, STEPS, SEEDS = "InvertedPendulum-v5", 4_000, (0, 1, 2)
shipped = pytest.mark.skipif(
    "pure" not in pretrained_names(), reason="this checkout ships no pretrained objective"
)


def example(name: str) -> ModuleType:
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["off_policy_agent", "sb3_td3"])
def test_an_example_runs(name: str) -> None:
    words = [sys.executable, f"examples/{name}.py", "--objective", str(GOLDEN), "--steps", "1000"]
    found = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert "1,000 steps  return" in found.stdout


def last_returns(train: Callable[[int, bool], list[float]]) -> tuple[list[float], list[float]]:
    """The last return of each seed with the learned objective, and with an untrained one."""
    learned = [train(seed, True)[-1] for seed in SEEDS]
    return learned, [train(seed, False)[-1] for seed in SEEDS]


@shipped
@pytest.mark.slow
def test_the_plain_agent_learns_by_the_pretrained_objective() -> None:
    module = example("off_policy_agent")

    def train(seed: int, learned: bool) -> list[float]:
        loss = module.policy_loss_for("pretrained" if learned else "random", seed)
        returns: list[float] = module.train(ENV, loss, STEPS, seed)
        return returns

    learned, untrained = last_returns(train)
    assert min(learned) > max(untrained), (learned, untrained)


@shipped
@pytest.mark.slow
def test_sb3_learns_by_the_pretrained_objective() -> None:
    module = example("sb3_td3")

    def train(seed: int, learned: bool) -> list[float]:
        chosen = metagenrl.load_objective() if learned else metagenrl.random_objective(seed)
        returns: list[float] = module.train(ENV, chosen, STEPS, seed)
        return returns

    learned, untrained = last_returns(train)
    assert min(learned) > max(untrained), (learned, untrained)
