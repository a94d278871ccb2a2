"""The parts of a folder that is resumed are of one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metagenrl.base.files.checkpoint_folder import write_folder
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.machine.identity import identity_of
from metagenrl.runs.resume import check_parts


@pytest.fixture
def run(stored_run: Callable[[TrainConfig], Path]) -> Path:
    folder = stored_run(TrainConfig(envs=("Pendulum-v1",)))
    (folder / "metrics.jsonl").touch()
    server = {"run": identity_of("run", folder).id}
    write_folder(folder / "checkpoints", "round-000000010", {"server": server})
    return folder


def test_checkpoints_of_another_run_are_refused(run: Path, refusal: Callable[[str], str]) -> None:
    check_parts(run)
    write_folder(run / "checkpoints", "round-000000020", {"server": {"run": "0e1e"}})
    own = identity_of("run", run).id
    assert refusal(f"train --resume {run}") == (
        f"resume: got '{run}' (checkpoints/round-000000020 is of run 0e1e, run.json of {own}), "
        "allowed: a folder whose parts are of one run"
    )


def test_a_damaged_checkpoint_is_left_to_the_one_that_loads_it(run: Path) -> None:
    write_folder(run / "checkpoints", "round-000000020", {"server": {"run": "0e1e"}})
    (run / "checkpoints" / "round-000000020" / "manifest.json").unlink()
    check_parts(run)
