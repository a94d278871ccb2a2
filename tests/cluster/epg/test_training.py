"""Evolved losses from the command line: meta-training, killed and resumed, and meta-tests."""

import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from fixtures.processes import actors, kill

from metagenrl.analysis.number_text import short
from metagenrl.base.checks import UsageError
from metagenrl.base.files.checkpoint_folder import newest_complete, read_folder
from metagenrl.base.memory import Memory
from metagenrl.cluster.engines.ray_cluster import actor_share
from metagenrl.cluster.epg.training import require_memory
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

Run = Callable[..., int]
Rows = Callable[[Path], list[dict[str, Any]]]
Start = Callable[..., "subprocess.Popen[bytes]"]

GENERATIONS = 5
SIZES = (
    f"--generations {GENERATIONS} --noise-vectors 4 --updates 2 --update-every 16 --buffer-size 32 "
    "--minibatch-size 16 --policy-units 4 --memory-units 2 --fitness-episodes 1 --ppo-share 0.4 "
    "--snapshot-every 2 --envs Pendulum-v1 InvertedPendulum-v5"
).split()


def line(run_dir: Path, *words: str) -> list[str]:
    return ["baseline", "--algo", "epg", "--phase", "train", "--run-dir", str(run_dir),
            "--engine", "inprocess", *SIZES, *words]  # fmt: skip


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows but for what depends on the clock."""
    rows = [json.loads(text) for text in (run_dir / "metrics.jsonl").read_text().splitlines()]
    clock = {"time", "agent_steps_per_s"}
    return [{name: row[name] for name in row if name not in clock} for row in rows]


def outcome(run_dir: Path) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """What a run came to: the loss, Adam's moments, and the rows."""
    newest = newest_complete(run_dir / "checkpoints")
    assert newest is not None
    state = read_folder(newest)["evolution"]
    assert state["generation"] == GENERATIONS
    return state["phi"].tobytes(), state["adam"]["v"].tobytes(), metrics(run_dir)


@pytest.fixture(scope="module")
def run_dir(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("epg") / "run"
    assert run(*line(folder)) == 0
    return folder


def test_a_run_leaves_rows_and_losses(run_dir: Path) -> None:
    rows = metrics(run_dir)
    agents = [row for row in rows if row["kind"] == "agent"]
    assert [(row["life"], row["agent"]) for row in agents] == [
        (generation, vector) for generation in range(GENERATIONS) for vector in range(4)
    ]
    # Both signs of a noise vector have the same environment.
    envs = ["Pendulum-v1"] * 2 + ["InvertedPendulum-v5"] * 2
    assert [row["env"] for row in agents] == envs * GENERATIONS
    assert {row["life_steps"] for row in agents} == {32}
    objectives = [row for row in rows if row["kind"] == "objective"]
    assert [row["version"] for row in objectives] == [1, 2, 3, 4, 5]
    assert objectives[-1]["agent_steps"] == 32 * 4 * GENERATIONS
    # In generation 0 the PPO loss alone trains: all losses are alike, phi stays.
    assert objectives[0]["gradient_norm"] == objectives[0]["update_norm"] == 0.0
    assert all(row["gradient_norm"] > 0 for row in objectives[2:])
    names = sorted(path.name for path in (run_dir / "objectives").glob("*.safetensors"))
    assert names == [f"objective-{v:08d}.safetensors" for v in (0, 2, 4, 5)]
    snapshot = ObjectiveSnapshot.load(run_dir / "objectives" / names[-1])
    assert snapshot.config["kind"] == "epg"
    assert (snapshot.config["pad_observations"], snapshot.config["pad_actions"]) == (4, 1)
    assert snapshot.alpha.tobytes() == outcome(run_dir)[0]
    assert snapshot.environments == ("Pendulum-v1", "InvertedPendulum-v5")
    assert (run_dir / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_killed_runs_side_by_side_go_on_to_the_same_bits(
    run: Run, start: Start, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "killed"
    words = line(folder, "--seeds", "2")
    process = start(words, folder, "seed-1/checkpoints/round-000000002/manifest.json")
    process.kill()
    shown, _ = process.communicate(timeout=30)
    assert b"seed 1: generation 2 of 5: returns Pendulum-v1 -" in shown
    assert not list(folder.glob(f"*/checkpoints/round-{GENERATIONS:09d}"))
    assert run(*words) == 2  # not without --resume
    assert run(*words, "--resume", "--generations", "9") == 2
    assert run(*words, "--resume") == 0
    assert outcome(folder / "seed-0") == outcome(run_dir)
    assert outcome(folder / "seed-1")[0] != outcome(run_dir)[0]
    capsys.readouterr()
    test = ["test", "--objective", str(folder), "--env", "Pendulum-v1"]
    assert run(*test, "--run-dir", str(tmp_path / "test")) == 2
    assert "no objectives/ with snapshots, but seed-0, seed-1 have" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_on_ray_come_to_the_same_bits_also_where_one_dies(
    run: Run, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from metagenrl.cluster.epg import ray_loops

    killed: list[int] = []
    begin = ray_loops.RayLoops.run

    def deadly(self: ray_loops.RayLoops, loops: Any, on_end: Any) -> None:
        if not killed:
            while not (workers := actors(os.getpid(), "InnerLoopWorker")):
                time.sleep(0.1)
            killed.append(workers[0].pid)
            kill(workers[:1])
        begin(self, loops, on_end)

    monkeypatch.setattr(ray_loops.RayLoops, "run", deadly)
    folder = tmp_path / "ray"
    try:
        assert run(*line(folder, "--engine", "ray", "--workers", "2")) == 0
    finally:
        ray.shutdown()
    assert killed
    assert re.search("worker [01] lost", (folder / "run.log").read_text())
    assert outcome(folder) == outcome(run_dir)


def test_the_loss_trains_new_agents_also_in_an_environment_of_another_size(
    run: Run, rows: Rows, run_dir: Path, tmp_path: Path
) -> None:
    sizes = ["--seeds", "1", "--steps", "60", "--eval-every", "30", "--eval-episodes", "1"]
    test = ["test", "--objective", str(run_dir), "--version", "last"]
    folder = tmp_path / "test"
    words = ["--env", "MountainCarContinuous-v0", "--run-dir", str(folder), *sizes]
    assert run(*test, *words) == 0
    assert [(row["label"], row["steps"]) for row in rows(folder)] == [
        ("EPG loss g5", steps) for steps in (0, 30, 60)
    ]
    facts = json.loads((folder / "objective.json").read_text())
    assert (facts["rule"], facts["seen"], facts["version"]) == ("epg", False, 5)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            "--env Hopper-v5 --run-dir {new}",
            "env: got 'Hopper-v5' (11 observations, 3 actions), allowed: at most 4 and 1",
        ),
        (
            "--env Pendulum-v1 --run-dir {new} --hidden-units 8",
            "agent: got {{'hidden_units': 8}}, allowed: nothing, an evolved loss brings its own",
        ),
    ],
)
def test_what_does_not_go_with_the_loss_is_refused(
    run: Run,
    words: str,
    complaint: str,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new = tmp_path / "new"
    line = ["test", "--objective", str(run_dir), "--version", "5", *words.format(new=new).split()]
    assert run(*line) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: " + complaint.format())
    assert error.count("\n") == 1
    assert not new.exists()


BASE = "baseline --algo epg --run-dir {new} "
BAD_LINES = [
    ("--envs Pendulm-v1", "envs: got 'Pendulm-v1'"),
    ("--envs Pendulum-v1 Hopper-v5 --pad-actions 2", "env: got 'Hopper-v5' (11 observations, 3 "),
    ("--envs Pendulum-v1 --noise-vectors 5", "noise_vectors: got 5, allowed: an even number, unl"),
    ("--envs Pendulum-v1 Hopper-v5 --noise-vectors 2", "noise_vectors: got 2, allowed: at least 4"),
    ("--envs Pendulum-v1 --sigma 0", "sigma: got 0.0, allowed: a number > 0"),
    ("--envs Pendulum-v1 --updates 0", "updates: got 0, allowed: a number >= 1"),
    ("--envs Pendulum-v1 --phase test", "--phase: got 'test', allowed: train"),
    ("--env Pendulum-v1 --seeds 0", "seeds: got 0, allowed: a number >= 1"),
    ("--env Pendulum-v1 --envs Pendulum-v1", "envs: got ('Pendulum-v1',), allowed: nothing besi"),
    ("", "envs: got (), allowed: training environments, or --env for one"),
]


@pytest.mark.parametrize(("words", "complaint"), BAD_LINES)
def test_bad_input_is_one_line_and_starts_nothing(
    run: Run, words: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    assert run(*(BASE + words).format(new=new).split()) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"error: {complaint}")
    assert error.count("\n") == 1
    assert not new.exists()


def test_workers_that_do_not_fit_the_memory_are_refused() -> None:
    nodes = [Memory(8 << 30, 1 << 30)] * 2
    with pytest.raises(UsageError, match=r"^workers: got 300 \(memory: 76.0 GiB of 16.0 GiB") as no:
        require_memory(300, nodes)
    fitting = int(str(no.value).rpartition(" ")[2])
    require_memory(fitting, nodes)
    require_memory(300, [])  # no node has said what it has


def test_workers_that_are_too_many_for_the_processors_are_told_how_many_are_not() -> None:
    with pytest.raises(ValueError, match=r"^agents: got 100000 actors, allowed: at most 2000 on 2"):
        actor_share(100_000, None, 2.0)


class Broken(gymnasium.Env[Any, Any]):
    """Every reset fails but the first, which is that of the trial."""

    resets = itertools.count()
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, **_: Any) -> Any:
        if next(self.resets):
            raise OSError("out of order")
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_where_all_inner_loops_fail_the_run_ends(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gymnasium.register("EpgBroken-v0", entry_point=Broken)
    folder = tmp_path / "broken"
    assert run(*line(folder)[:-2], "EpgBroken-v0") == 1
    shown = capsys.readouterr().out
    assert shown.count("inner loop failed: EnvironmentFailed") == 4
    assert "failed: all inner loops of generation 0 failed; the same command with" in shown
    events = [row for row in metrics(folder) if row["kind"] == "event"]
    assert [row["agent"] for row in events] == [0, 1, 2, 3]
    assert "out of order" in (folder / "run.log").read_text()


def test_the_report_shows_the_evolution(run: Run, run_dir: Path, tmp_path: Path) -> None:
    assert run("report", run_dir, "--out", tmp_path) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"Evolution: {run_dir.name}" in page
    assert f"Inner loops: {GENERATIONS * 4} done, 0 failed." in page
    rows = [row for row in metrics(run_dir) if row["kind"] == "agent"]
    for env in ("Pendulum-v1", "InvertedPendulum-v5"):
        last = [row for row in rows if row["env"] == env and row["life"] == GENERATIONS - 1]
        assert short(sum(row["return_mean"] for row in last) / len(last)) in page
    assert (tmp_path / "evolution-0.png").is_file()
