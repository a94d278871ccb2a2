"""Environments in worker processes against the same environments in this one; workers killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.cohort import Cohort
from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.environment.remote import EnvWorkers, Timeouts, WorkerLost
from metagenrl.agents.reports import MemberConfig
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet

# Importing the module, which gymnasium does for "flawed:...", registers the environments.
FLAWED = """
import time
import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv

class Raises(PendulumEnv):
    calls = 0

    def step(self, action):
        self.calls += 1
        if self.calls == 3:
            raise OSError("the simulator's licence has expired")
        return super().step(action)

class Hangs(PendulumEnv):
    def step(self, action):
        time.sleep(3600)

gymnasium.register("Raises-v0", Raises, max_episode_steps=200)
gymnasium.register("Hangs-v0", Hangs, max_episode_steps=200)
"""


@pytest.fixture
def flawed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flawed.py").write_text(FLAWED)
    monkeypatch.syspath_prepend(str(tmp_path))


def _rng(seed=0):
    return np.random.default_rng(seed)


def _pid(environment) -> int:
    return environment._worker._process.pid


def _act(environment, steps, seed=1, ahead=False):
    """Every observation and reward of some steps over several episodes."""
    rng, seen = _rng(seed), []
    for _ in range(steps):
        if environment.observation is None:
            seen.append(environment.reset().tolist())
        action = rng.uniform(-1, 1, environment.action_size).astype(np.float32)
        if ahead:
            environment.begin(action)
        result = environment.step(action)
        seen.append([*result.observation.tolist(), result.reward, result.terminated])
        seen.append([environment.episode_return, environment.episode_length])
    return seen


@pytest.mark.parametrize("ahead", [False, True])
def test_a_worker_gives_what_the_environment_gives(ahead):
    env_id = "InvertedDoublePendulum-v5"
    here, there = Environment(env_id, _rng()), EnvWorkers(1).environment(env_id, _rng())
    assert (there.observation_size, there.action_size) == (here.observation_size, here.action_size)
    assert _act(there, 60, ahead=ahead) == _act(here, 60)
    assert there.state_dict()["seed"] == here.state_dict()["seed"]
    np.testing.assert_equal(there.state_dict(), here.state_dict())
    other = EnvWorkers(1).environment(env_id, _rng(5))
    other.load_state_dict(there.state_dict())
    assert other.episode_length == here.episode_length
    assert _act(other, 30, 2, ahead) == _act(here, 30, 2)
    there.abandon_episode()
    assert there.observation is None
    assert there.state_dict()["observation"] is None
    for environment in (there, other):
        environment.close()


def test_steps_that_were_begun_are_answered_in_any_order():
    workers = EnvWorkers(2)
    there = [workers.environment("Pendulum-v1", _rng(i)) for i in range(5)]
    here = [Environment("Pendulum-v1", _rng(i)) for i in range(5)]
    assert len({_pid(environment) for environment in there}) == 2
    for environment in (*there, *here):
        environment.reset()
    for i, environment in enumerate(there):
        environment.begin([0.1 * i])
    for i in (3, 0, 4, 2, 1):
        got, want = (group[i].step([0.1 * i]) for group in (there, here))
        np.testing.assert_array_equal(got.observation, want.observation)
        assert got.reward == want.reward
    for environment in there:
        environment.close()


@pytest.mark.usefixtures("flawed")
def test_what_an_environment_raises_arrives_with_its_traceback():
    environment = EnvWorkers(1).environment("flawed:Raises-v0", _rng())
    environment.reset()
    for _ in range(2):
        environment.step([0.0])
    with pytest.raises(OSError, match="licence has expired") as caught:
        environment.step([0.0])
    assert "flawed.py" in caught.value.__notes__[0]
    assert environment.observation is None
    environment.reset()
    environment.step([0.0])
    environment.close()


def test_an_unknown_environment_is_refused_and_leaves_no_process():
    workers = EnvWorkers(1)
    with pytest.raises(ValueError, match="Pendulum-v9"):
        workers.environment("Pendulum-v9", _rng())
    assert not workers._workers[0].alive


@pytest.mark.usefixtures("flawed")
def test_an_environment_that_hangs_is_given_up():
    environment = EnvWorkers(1, Timeouts(answer=0.2)).environment("flawed:Hangs-v0", _rng())
    environment.reset()
    with pytest.raises(WorkerLost, match=r"no answer for 0\.2 s"):
        environment.step([0.0])
    assert not psutil.pid_exists(_pid(environment))
    environment.close()


def test_a_process_ends_with_its_last_environment():
    workers = EnvWorkers(1)
    first, second = (workers.environment("Pendulum-v1", _rng()) for _ in range(2))
    first.close()
    assert psutil.pid_exists(_pid(second))
    second.close()
    assert not psutil.pid_exists(_pid(second))


@pytest.mark.usefixtures("flawed")
def test_processes_end_with_who_started_them(tmp_path):
    """Even while an environment hangs."""
    script = (
        "import numpy as np, sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from metagenrl.agents.environment.remote import EnvWorkers\n"
        "e = EnvWorkers(1).environment('flawed:Hangs-v0', np.random.default_rng(0))\n"
        "e.reset()\n"
        "e.begin([0.0])\n"
        "print(e._worker._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        worker = psutil.Process(int(process.stdout.readline()))
        process.kill()
    assert psutil.wait_procs([worker], timeout=30)[1] == []


def _config(index):
    agent = AgentConfig(
        hidden_units=8, batch_size=3, segment_length=4, random_steps=10, learning_starts=12,
        replay_capacity=300,
    )  # fmt: skip
    meta = MetaConfig(lifetime=30, lifetime_random_steps=5, anneal_steps=0)
    objective = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)
    return MemberConfig("r", 3, index, "Pendulum-v1", 20 + index, agent, meta, objective)


def _alpha():
    size = ObjectiveNet(_config(0).objective).layout.size
    return _rng().normal(0, 0.3, size).astype(np.float32)


def test_a_cohort_with_workers_computes_the_same_bits():
    cohorts = [Cohort(Computing("reference", env_workers=workers)) for workers in (0, 2)]
    for cohort in cohorts:
        for index in range(3):
            cohort.add(_config(index), 0, None)
    for i in range(25):
        here, there = (cohort.round(range(3), _alpha(), i, i, {}) for cohort in cohorts)
        np.testing.assert_equal(
            [vars(r) | {"gradient": None} for r in there.reports],
            [vars(r) | {"gradient": None} for r in here.reports],
        )
        if here.gradient is not None:
            np.testing.assert_array_equal(there.gradient.gradient, here.gradient.gradient)
    assert max(report.life for report in here.reports) == 1
    for index in range(3):
        here, there = (cohort.state(index) for cohort in cohorts)
        np.testing.assert_equal(there["rollout"], here["rollout"])
        for cohort in cohorts:
            cohort.remove(index)


def test_agents_of_a_killed_worker_are_lost_and_come_back_in_a_new_one():
    cohort = Cohort(Computing("reference", env_workers=2))
    for index in range(4):
        cohort.add(_config(index), 0, None)
    for i in range(7):
        cohort.round(range(4), _alpha(), i, i, {})
    saved = {index: cohort.state(index) for index in range(4)}
    pids = {i: _pid(cohort.members[i].rollout.environment) for i in range(4)}
    os.kill(pids[0], signal.SIGKILL)
    hit = [index for index in range(4) if pids[index] == pids[0]]
    assert len(hit) == 2
    report = cohort.round(range(4), _alpha(), 7, 7, {})
    assert [failure.agent for failure in report.failures] == hit
    assert all("WorkerLost" in failure.reason for failure in report.failures)
    assert report.gradient.weight == 2
    for index in hit:
        cohort.add(_config(index), 1, saved[index])
    again = cohort.round(range(4), _alpha(), 8, 8, {})
    assert again.gradient.weight == 4
    assert not psutil.pid_exists(pids[0])
    for index in range(4):
        cohort.remove(index)
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
