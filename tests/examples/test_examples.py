"""The examples: they run, and the learned objective trains where an untrained one does not."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import pytest

import metagenrl
from metagenrl.base.process import available_cores
from metagenrl.objective_server.snapshots.pretrained import DEFAULT, pretrained_names

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/v0.1/cohort/objectives/objective-00000076.safetensors"
ENV, STEPS, SEEDS = "InvertedPendulum-v5", 2_500, (0, 1)
shipped = pytest.mark.skipif(
    DEFAULT not in pretrained_names(), reason="this checkout ships no pretrained objective"
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


@pytest.mark.parametrize("name", ["off_policy_agent", "sb3_td3"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", "-5"], "--steps"),
        (["--env", "Nope-v0"], "Nope"),
        (["--env", "CartPole-v1"], "--env: CartPole-v1 has the actions Discrete(2)"),
        (["--objective", "no/such/run"], "objective: got 'no/such/run'"),
    ],
)
def test_a_mistake_is_one_line(
    name: str, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit) as ended:
        example(name).main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def plain_agent(seed: int, learned: bool) -> float:
    """The last return of `off_policy_agent`."""
    module = example("off_policy_agent")
    loss = module.policy_loss_for("pretrained" if learned else "random", seed)
    return float(module.train(ENV, loss, STEPS, seed)[-1])


def sb3_agent(seed: int, learned: bool) -> float:
    """The last return of `sb3_td3`."""
    chosen = metagenrl.load_objective() if learned else metagenrl.random_objective(seed)
    return float(example("sb3_td3").train(ENV, chosen, STEPS, seed)[-1])


@shipped
@pytest.mark.slow
@pytest.mark.parametrize("train", [plain_agent, sb3_agent])
def test_it_learns_by_the_pretrained_objective(
    train: Callable[[int, bool], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runs = [(seed, learned) for learned in (True, False) for seed in SEEDS]
    with ProcessPoolExecutor(available_cores(), get_context("spawn")) as pool:
        returns = list(pool.map(train, *zip(*runs, strict=True)))
    learned, untrained = returns[: len(SEEDS)], returns[len(SEEDS) :]
    assert min(learned) > max(untrained), (learned, untrained)
