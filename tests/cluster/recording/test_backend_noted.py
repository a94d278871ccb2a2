"""What computed a run's rounds is told where people look."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metagenrl.learner.native import library
from metagenrl.runs.machine.identity import RunIdentity

TINY = (
    "train --preset quickstart --engine inprocess --wandb disabled --agents 1 --envs Pendulum-v1 "
    "--hidden-units 8 --batch-size 4 --learning-starts 20 --random-steps 20 --steps 40"
)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", "native {}"),
        ("--backend reference", "reference cpu {}"),
        ("--hidden-units 136", "reference cpu {}"),
    ],
)
def test_log_and_identity_name_what_computed(
    run: Callable[..., int], tmp_path: Path, words: str, name: str
) -> None:
    if library.backend() == "torch":
        pytest.skip("the library was not built")
    folder = tmp_path / "run"
    assert run(*TINY.split(), *words.split(), "--run-dir", folder) == 0
    expected = name.format(library.backend())
    assert f"is computed by: {expected}" in (folder / "run.log").read_text()
    identity = RunIdentity(**json.loads((folder / "run.json").read_text()))
    assert list(identity.backends) == [expected]
