"""The run folder of every baseline: the same from each, and the same after a kill."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

Run = Callable[..., int]
Rows = Callable[[Path], list[dict[str, Any]]]
Start = Callable[..., "subprocess.Popen[bytes]"]

ON_POLICY = ("--hidden-units", "8", "--eval-episodes", "1", "--rollout-steps", "100")
REINFORCE = (*ON_POLICY, "--on-policy.value-epochs", "2")
PPO = (*ON_POLICY, "--ppo.epochs", "1")
OFF_POLICY = (
    *("--hidden-units", "16", "--batch-size", "8", "--segment-length", "4", "--random-steps", "40"),
    *("--learning-starts", "30", "--eval-episodes", "1"),
)
FILES = {"config.yaml", "objective.json", "evaluations.jsonl", "run.log", "curves.png", "seeds"}


CASES: dict[str, tuple[str, int, int, tuple[str, ...]]] = {
    "td3": ("Pendulum-v1", 600, 20, OFF_POLICY),
    "ddpg": ("Pendulum-v1", 600, 20, OFF_POLICY),
    "reinforce-off": ("Pendulum-v1", 600, 20, OFF_POLICY),
    "reinforce-critic": ("Pendulum-v1", 600, 20, OFF_POLICY),
    "reinforce": ("Pendulum-v1", 800, 20, REINFORCE),
    "ppo": ("InvertedPendulum-v5", 1_000, 10, PPO),  # short episodes, as it is slow to act
    "rl2": ("InvertedPendulum-v5", 1_000, 10, (*PPO, "--rl2.lstm-units", "4")),
}
"""Environment, steps, steps between evaluations and sizes; epg: `cluster/epg/test_training.py`."""


@pytest.mark.parametrize("algo", ["td3", "reinforce", "ppo", "rl2"])  # one of each kind of agent
def test_a_killed_baseline_goes_on_from_its_checkpoint(
    run: Run,
    rows: Rows,
    start: Start,
    algo: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGKILL to the command; its agents' processes end by themselves, and --resume goes on."""
    run_dir = tmp_path / "run"
    env, steps, every, sizes = CASES[algo]
    words = ["baseline", "--algo", algo, "--env", env, "--run-dir", str(run_dir), *sizes]
    words += f"--seeds 2 --workers 2 --steps {steps} --eval-every {every}".split()
    process = start(words, run_dir, "seeds/*.checkpoints/step-*/manifest.json")
    agents = psutil.Process(process.pid).children(recursive=True)
    assert len(agents) == 2  # side by side
    process.kill()
    process.communicate(timeout=30)
    assert psutil.wait_procs(agents, timeout=10)[1] == []
    assert run(*words, "--resume") == 0
    shown = capsys.readouterr().out
    for progress in (f"{algo} in {env}", f"of {steps:,}, returns by seed: 0: ", "2 of 2 finished"):
        assert progress in shown
    logs = "".join(path.read_text() for path in run_dir.glob("seeds/*.log"))
    (went_on, *_) = re.findall(r"going on from step (\d+)", logs)
    assert 0 < int(went_on) < steps
    assert [(row["kind"], row["label"], row["env"], row["seed"], row["steps"])
            for row in rows(run_dir)] == [
        ("evaluation", algo, env, seed, step)
        for seed in (0, 1) for step in range(0, steps + 1, every)
    ]  # fmt: skip
    assert {path.name for path in run_dir.iterdir()} == FILES


@pytest.mark.parametrize("algo", ["reinforce", "ppo"])
def test_every_baseline_leaves_the_same_folder(
    run: Run, rows: Rows, algo: str, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    line = [
        "baseline",
        "--algo",
        algo,
        "--env",
        "Pendulum-v1",
        "--run-dir",
        run_dir,
        *CASES[algo][3],
    ]
    assert run(*line, "--seeds", 2, "--steps", 250, "--eval-every", 100) == 0
    assert [(r["kind"], r["label"], r["env"], r["seed"], r["steps"]) for r in rows(run_dir)] == [
        ("evaluation", algo, "Pendulum-v1", seed, steps)
        for seed in (0, 1)
        for steps in (0, 100, 200, 250)
    ]
    assert {path.name for path in run_dir.iterdir()} == FILES
    assert {p.name for p in (run_dir / "seeds").iterdir()} == {
        f"seed-{seed}.{kind}" for seed in (0, 1) for kind in ("jsonl", "actor.safetensors")
    }
    text = (run_dir / "seeds" / "seed-1.jsonl").read_text().splitlines()
    episodes = [json.loads(line) for line in text if json.loads(line)["kind"] == "episode"]
    assert [(e["steps"], e["length"]) for e in episodes] == [(200, 200)]
    assert -2_000 < episodes[0]["episode_return"] < -100  # unscaled
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert (config["algo"], config["on_policy"]["rollout_steps"]) == (algo, 100)
    assert run(*line, "--seeds", 2, "--steps", 250, "--eval-every", 100, "--resume") == 0
