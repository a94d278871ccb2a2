"""Agents that go on in an environment of other sizes are refused before anything starts."""

import dataclasses
from pathlib import Path

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.base.files.checkpoint_folder import write_folder
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.meta_test.spaces import require_known_spaces, spaces_part
from metagenrl.runs.agent_job import ObjectiveChoice, TraineeJob


def job(folder: Path, *sizes: tuple[int, int]) -> TraineeJob:
    return TraineeJob(
        env="Pendulum-v1", seed=3, label="td3", steps=50, eval_every=20, eval_episodes=1,
        folder=str(folder), agent=AgentConfig(), objective=ObjectiveChoice("td3"), sizes=sizes,
    )  # fmt: skip


def test_other_sizes_than_the_checkpoint_has_are_refused(tmp_path: Path) -> None:
    began = job(tmp_path, (3, 1))
    require_known_spaces([began])  # nothing there yet
    write_folder(began.checkpoints, "step-000000020", {"trainee": {}, **spaces_part(began)})
    require_known_spaces([began])
    told = r"Pendulum-v1 has 4 observations and 1 actions now, seed 3 began with 3 and 1\)"
    with pytest.raises(UsageError, match=told):
        require_known_spaces([job(tmp_path, (4, 1))])


def test_a_checkpoint_that_does_not_say_is_left_to_its_agent(tmp_path: Path) -> None:
    unknown = job(tmp_path)
    write_folder(unknown.checkpoints, "step-000000020", {"trainee": {}, **spaces_part(unknown)})
    require_known_spaces([dataclasses.replace(unknown, sizes=((4, 1),))])
