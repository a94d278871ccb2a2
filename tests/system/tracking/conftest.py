"""A small run that is tracked and tested beside, and the same run that is not."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures import forks

from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

# Four agents an environment, so that quartiles differ from extremes; a second life for each.
_TINY = "--preset quickstart --engine inprocess --hidden-units 16 --batch-size 8 --random-steps 60"
_TINY += " --learning-starts 40 --agents 8 --envs Pendulum-v1 InvertedDoublePendulum-v5"
_TINY += " --lifetime 250 --lifetime-random-steps 60"
_TINY += " --checkpoint-every 100 --snapshot-every 50 --log-every 50 --steps 300"
_HELD_OUT = "--eval-envs InvertedPendulum-v5 --eval-every 60 --eval-seeds 2 --eval-steps 60"
_HELD_OUT += " --eval-episodes 2 --eval-workers 2"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """The words of a small run."""
    return _TINY.split()


@pytest.fixture(scope="session")
def held_out() -> list[str]:
    """Those of tests beside it."""
    return _HELD_OUT.split()


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """A command line as a process of its own is started with it."""

    def line(*words: object) -> list[str]:
        return [*forks.METAGENRL, *map(str, words)]

    return line


@pytest.fixture(scope="session")
def metagenrl(command: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Carries out a command line with nobody's account at Weights & Biases."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    folders = ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")
    environment = kept | dict.fromkeys(folders, str(home)) | {"NETRC": str(home / "netrc")}

    def run(*words: object) -> "subprocess.CompletedProcess[str]":
        return forks.run(
            command(*words), capture_output=True, text=True, timeout=400, check=True,
            env=environment,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def plain(metagenrl: Run, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing watches."""
    run_dir = tmp_path_factory.mktemp("plain") / "run"
    metagenrl("train", *tiny, "--run-dir", run_dir, "--wandb", "disabled")
    return run_dir


@pytest.fixture(scope="session")
def tracked(
    metagenrl: Run, tiny: list[str], held_out: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same, tested and shown by both trackers."""
    run_dir = tmp_path_factory.mktemp("tracked") / "run"
    shown = ["--wandb", "offline", "--tensorboard"]
    done = metagenrl("train", *tiny, *held_out, *shown, "--run-dir", run_dir)
    assert f"wandb sync {run_dir}/wandb/offline-run-*" in done.stdout + done.stderr
    return run_dir


@pytest.fixture(scope="session")
def last() -> Callable[[Path], ObjectiveSnapshot]:
    """Reads a run's last version of alpha."""
    return lambda run_dir: ObjectiveSnapshot.load(find_snapshot(run_dir, "last"))
