"""One agent's process, run in this one: rows, determinism, checkpoints, what is imported."""

import dataclasses
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from metagenrl.agents.experience.failures import EnvironmentFailed
from metagenrl.base.files.errors import CorruptFile
from metagenrl.baselines.trainee_objective import objective_for, random_alpha
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.policy_update import CriticObjective, Learned, Reinforce, ReinforceByCritic
from metagenrl.meta_test import worker_process
from metagenrl.meta_test.worker_process import TraineeRun
from metagenrl.runs.agent_files import EpisodeRow, RowFile, RowReader, evaluations, is_finished
from metagenrl.runs.agent_job import ObjectiveChoice, Rule, TraineeJob, agent_for
from metagenrl.runs.config.baselines import ReinforceCriticConfig
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow

AGENT = AgentConfig(
    hidden_units=8, batch_size=4, segment_length=4, random_steps=20, learning_starts=10,
    replay_capacity=500, gamma=0.9, gae_lambda=0.8,
)  # fmt: skip
ARCHITECTURE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the process; on a busy machine more threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def job(folder: Path, rule: Rule = "td3", **changes: Any) -> TraineeJob:
    folder.mkdir(exist_ok=True)
    plain = TraineeJob(
        env="Pendulum-v1", seed=3, label=rule, steps=50, eval_every=20, eval_episodes=1,
        folder=str(folder), agent=agent_for(rule, AGENT),
        objective=ObjectiveChoice(rule, "", ARCHITECTURE),
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def test_a_job_survives_its_way_to_the_process(tmp_path: Path) -> None:
    original = job(tmp_path, "ddpg", label="größe")
    line = original.to_json()
    assert "\n" not in line
    assert TraineeJob.from_json(line.encode()) == original


@pytest.mark.parametrize("rule", ["random", "td3", "ddpg", "reinforce-off", "reinforce-critic"])
def test_a_life_is_evaluated_at_its_start_and_end_and_in_between(
    rule: Rule, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        TraineeRun(job(tmp_path / folder, rule)).run()
    rows = evaluations(tmp_path / "a" / "seed-3.jsonl")
    assert [row.steps for row in rows] == [0, 20, 40, 50]
    assert {(row.label, row.env, row.seed) for row in rows} == {(rule, "Pendulum-v1", 3)}
    assert len({row.return_mean for row in rows}) > 1  # the policy changes
    same = [(tmp_path / folder / "seed-3.jsonl").read_bytes() for folder in ("a", "b")]
    assert same[0] == same[1]


def test_rules_differ_only_in_what_trains_the_policy(tmp_path: Path) -> None:
    untrained, final = set(), set()
    for rule in ("random", "td3", "reinforce-off"):
        TraineeRun(job(tmp_path / rule, rule)).run()  # type: ignore[arg-type]
        rows = evaluations(tmp_path / rule / "seed-3.jsonl")
        untrained.add(rows[0].return_mean)
        final.add(rows[-1].return_mean)
    assert len(untrained) == 1
    assert len(final) == 3


def test_objectives_of_the_rules(tmp_path: Path) -> None:
    def made(rule: Rule, **options: Any) -> object:
        return objective_for(job(tmp_path, rule, seed=0, **options))

    assert made("td3") == made("ddpg") == CriticObjective()
    assert made("reinforce-off") == Reinforce(gamma=0.9, gae_lambda=0.8)
    assert made("reinforce-critic") == ReinforceByCritic()
    near = ReinforceCriticConfig(resample_noise=0.3)
    assert made("reinforce-critic", reinforce_critic=near) == ReinforceByCritic(0.3)
    control = made("random")
    assert isinstance(control, Learned)
    assert torch.equal(control.learned.alpha, random_alpha(ARCHITECTURE, 0))
    assert not torch.equal(random_alpha(ARCHITECTURE, 0), random_alpha(ARCHITECTURE, 1))


def test_ddpg_is_td3_without_its_additions() -> None:
    ddpg = agent_for("ddpg", AGENT)
    assert (ddpg.twin_critics, ddpg.policy_delay, ddpg.target_noise) == (False, 1, 0.0)
    undone = dataclasses.replace(ddpg, twin_critics=True, policy_delay=2, target_noise=0.2)
    assert undone == agent_for("td3", AGENT) == AGENT


class Stopped(Exception):  # noqa: N818 - a test's own
    pass


def test_a_stopped_life_goes_on_from_its_checkpoint_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_process, "CHECKPOINT_EVALUATIONS", 1)
    monkeypatch.setattr(worker_process, "CHECKPOINT_SHARE", 1e9)
    whole = job(tmp_path / "whole", "random", steps=330)
    TraineeRun(whole).run()
    assert not whole.checkpoints.exists()
    broken = job(tmp_path / "broken", "random", steps=330)
    life = TraineeRun(broken)
    step = life.trainee.step

    def stopping() -> object:
        if life.trainee.steps == 237:  # in an episode, 17 steps after a checkpoint
            raise Stopped
        return step()

    monkeypatch.setattr(life.trainee, "step", stopping)
    with pytest.raises(Stopped):
        life.run()
    names = sorted(path.name for path in broken.checkpoints.iterdir())
    assert names == ["step-000000200", "step-000000220"]
    life.rows.write(EpisodeRow(239, -1.0, 3))  # what the lost steps left behind
    with open(broken.rows, "ab") as file:
        file.write(b'{"kind": "evalu')
    caplog.set_level(logging.INFO)
    TraineeRun(broken).run()
    assert "going on from step 220" in caplog.text
    assert broken.rows.read_bytes() == whole.rows.read_bytes()


def test_a_full_disk_at_a_checkpoint_costs_only_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker_process, "CHECKPOINT_EVALUATIONS", 1)
    monkeypatch.setattr(worker_process, "write_folder", full)
    TraineeRun(job(tmp_path)).run()
    assert "checkpoint at step 20 failed: No space left on device" in caplog.text
    assert is_finished(tmp_path / "seed-3.jsonl", 50)


def test_checkpoints_become_rarer_where_they_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], []

    def slow(_parent: Path, name: str, _parts: object) -> None:
        written.append(name)
        now[0] += 1.0

    monkeypatch.setattr(worker_process, "CHECKPOINT_EVALUATIONS", 1)
    monkeypatch.setattr(worker_process, "write_folder", slow)
    monkeypatch.setattr(worker_process.time, "monotonic", lambda: now[0])
    life = TraineeRun(job(tmp_path, steps=200, eval_every=10))
    step = life.trainee.step

    def a_second() -> object:
        now[0] += 1.0
        return step()

    monkeypatch.setattr(life.trainee, "step", a_second)
    life.run()
    # 1 second each: 5 % of the time means 20 seconds of training for each.
    assert written == [f"step-{steps:09d}" for steps in range(10, 200, 20)]


def test_rows_that_the_disk_lost_are_noticed(tmp_path: Path) -> None:
    rows = RowFile(tmp_path / "rows.jsonl")
    rows.write(EpisodeRow(1, 2.0, 3))
    size = rows.sync()
    with pytest.raises(CorruptFile, match="truncated"):
        rows.cut(size + 1)
    rows.cut(size)
    assert rows.sync() == size


def test_a_reader_waits_for_whole_rows_and_notices_a_cut(tmp_path: Path) -> None:
    first, second = (EvaluationRow("td3", "e", 0, steps, 1.5, (1.0, 2.0)) for steps in (0, 10))
    path = tmp_path / "rows.jsonl"
    reader = RowReader(path)
    assert reader.new_rows() == []
    lines = [to_line(first), json.dumps({"kind": "episode"}) + "\n", to_line(second)]
    path.write_text("".join(lines)[:-5])
    assert reader.new_rows() == [first]
    path.write_text("".join(lines))
    assert reader.new_rows() == [second]
    path.write_text(to_line(second))
    assert reader.new_rows() == [second]


def test_the_process_imports_only_what_training_needs() -> None:
    code = (
        "import sys, metagenrl.meta_test.worker_process\n"
        "unneeded = {'ray', 'matplotlib', 'wandb', 'pandas', 'scipy', 'rich', 'tyro', 'yaml'}\n"
        "print(sorted(unneeded & sys.modules.keys()), 'torch._dynamo' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[] False\n"


class BareError(Exception):
    """As gRPC's, whose text has many lines; or one whose text cannot be made."""

    def __init__(self, text: str | None) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        if self.text is None:
            raise ValueError("no text")
        return self.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BareError("<call of a simulator\n  status = UNAVAILABLE\n>"),
         "BareError: <call of a simulator status = UNAVAILABLE >"),
        (BareError(None), "BareError"),
        (EnvironmentFailed("E-v0: raised in 11 episodes"), "E-v0: raised in 11 episodes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_last_line_says_what_happened(
    error: Exception, line: str, wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(job: TraineeJob) -> None:
        if wrapped:
            raise RuntimeError from error  # as RLlib does
        raise error

    monkeypatch.setattr(worker_process, "carry_out", fails)
    monkeypatch.setattr(worker_process, "read_job", job(tmp_path / "a").to_json)
    for name in ("settle", "when_parent_ends", "end_what_is_left"):
        monkeypatch.setattr(worker_process, name, lambda *_: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        worker_process.main()
    assert caught.value.code == 1
    assert capfd.readouterr().err.splitlines()[-1] == line
