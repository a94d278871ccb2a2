"""Run folders of released versions (tests/golden): today's code goes on with them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ray
import safetensors.numpy

import metagenrl
from metagenrl.base.files.checkpoint_folder import newest_complete, read_folder
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

ROOT = Path(__file__).resolve().parents[1] / "golden"
GOLDEN = ROOT / "v0.1"
TRAINED = {
    "v0.1/inprocess": (2, 52, 78),
    "v0.1/ray": (2, 75, 125),
    "v0.1/cohort": (4, 76, 126),
    "v0.1/stacked": (4, 76, 126),
    "pairs/inprocess": (2, 52, 78),
}
"""Agents, last version, and the version that the code of then itself resumes to at step 300."""

Run = Callable[..., int]


@pytest.fixture
def golden(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a run folder that a test may go on with."""

    def copy(name: str, release: Path = GOLDEN) -> Path:
        return shutil.copytree(release / name, tmp_path / name)

    return copy


@pytest.mark.parametrize("name", TRAINED)
def test_meta_training_goes_on(name: str, golden: Callable[..., Path], run: Run) -> None:
    agents, version, resumed = TRAINED[name]
    source = ROOT / name
    folder = golden(source.name, source.parent)
    before = ObjectiveSnapshot.load(find_snapshot(folder, "last"))
    assert before.version == version
    assert run("train", "--resume", folder, "--steps", 300, "--engine", "inprocess") == 0
    newest = newest_complete(folder / "checkpoints")
    assert newest is not None
    roster = read_folder(newest, ["population"])["population"]["roster"]
    assert [seat["steps"] for seat in roster.values()] == [300] * agents
    after = ObjectiveSnapshot.load(find_snapshot(folder, "last"))
    assert after.version == resumed
    assert after.run == before.run
    # Bits differ between processors, and a new default that changes what is computed is far off.
    then = safetensors.numpy.load_file(source.parent / "resumed.safetensors")[source.name]
    moved = np.linalg.norm(then - before.alpha)
    assert moved > 1e-3
    assert np.linalg.norm(after.alpha - then) < 0.1 * moved


@pytest.mark.slow
def test_meta_training_goes_on_in_actors(golden: Callable[[str], Path]) -> None:
    folder = golden("ray")
    metagenrl.train(resume=folder, steps=300, agent_cpus=0.5)
    assert not ray.is_initialized()  # a call leaves no Ray of its own behind
    assert ObjectiveSnapshot.load(find_snapshot(folder, "last")).version == TRAINED["v0.1/ray"][2]


@pytest.mark.parametrize("name", [*TRAINED, "v0.1/epg"])
def test_objectives_read_as_they_were_written(name: str) -> None:
    path = find_snapshot(ROOT / name, "last")
    snapshot = ObjectiveSnapshot.load(path)
    written = json.loads(path.with_suffix(".json").read_text())
    assert snapshot.checksum == written["checksum"]
    assert snapshot.alpha.size == written["parameters"]


def test_an_objective_trains_new_agents(
    tmp_path: Path, run: Run, rows: Callable[[Path], list[dict[str, object]]]
) -> None:
    out = tmp_path / "out"
    words = "--env InvertedPendulum-v5 --seeds 1 --steps 100 --eval-every 100 --eval-episodes 1"
    code = run("test", "--objective", GOLDEN / "inprocess", "--run-dir", out, *words.split())
    assert code == 0
    assert [row["steps"] for row in rows(out)] == [0, 100]
    assert {row["label"] for row in rows(out)} == {"learned objective v52"}


def test_a_test_that_was_killed_goes_on(
    golden: Callable[[str], Path],
    run: Run,
    rows: Callable[[Path], list[dict[str, object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = golden("interrupted")
    monkeypatch.chdir(golden("inprocess").parent)  # the objective's path is part of the run
    lines = (folder / "seeds" / "seed-0.jsonl").read_text().splitlines()
    saved = [r for r in map(json.loads, lines) if r["kind"] == "evaluation" and r["steps"] <= 500]
    shared = ["--preset", "quickstart", "--env", "InvertedPendulum-v5", "--eval-episodes", 1]
    shared += ["--hidden-units", 8, "--batch-size", 2, "--segment-length", 10]
    shared += ["--random-steps", 50, "--learning-starts", 50, "--replay-capacity", 300]
    objective = ["--objective", "inprocess", "--version", "last"]
    words = ["test", *objective, *shared, "--seeds", 1, "--steps", 3000, "--eval-every", 50]
    assert run(*words, "--run-dir", folder, "--resume") == 0
    found = rows(folder)
    assert found[: len(saved)] == saved
    assert [row["steps"] for row in found] == list(range(0, 3001, 50))


def test_a_meta_learners_policies_are_tested(
    tmp_path: Path, run: Run, rows: Callable[[Path], list[dict[str, object]]]
) -> None:
    words = ["--env", "Pendulum-v1", "--seeds", 1, "--steps", 200, "--eval-every", 200]
    code = run("test", "--objective", GOLDEN / "rl2", "--run-dir", tmp_path / "out", *words)
    assert code == 0
    assert {row["label"] for row in rows(tmp_path / "out")} == {"rl2"}


def test_an_evolved_loss_goes_on_and_is_tested(
    golden: Callable[[str], Path], tmp_path: Path, run: Run
) -> None:
    folder = golden("epg")
    words = "--preset quickstart --engine inprocess --env Pendulum-v1 --generations 2"
    words += " --noise-vectors 2 --updates 2 --fitness-episodes 1 --snapshot-every 1"
    words += " --policy-units 4 --memory-units 4 --buffer-size 64"
    epg = ["baseline", "--algo", "epg", "--phase", "train", *words.split()]
    assert run(*epg, "--run-dir", folder, "--resume") == 0
    words = "--env Pendulum-v1 --seeds 1 --steps 128 --eval-every 128 --eval-episodes 1"
    assert run("test", "--objective", folder, "--run-dir", tmp_path / "out", *words.split()) == 0


def test_runs_are_compared_and_reported(
    tmp_path: Path, golden: Callable[[str], Path], run: Run
) -> None:
    runs = [GOLDEN / name for name in ("test", "random", "td3")]
    assert run("compare", *runs, "--out", tmp_path / "compare") == 0
    table = (tmp_path / "compare" / "comparison.md").read_text()
    for label in ("learned objective v52", "random objective", "td3"):
        assert label in table
    for name in ("inprocess", "stacked"):
        out = tmp_path / f"report-{name}"
        assert run("report", golden(name), "--out", out) == 0
        assert any(out.iterdir()) if out.is_dir() else out.is_file()
