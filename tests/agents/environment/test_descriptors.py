"""Environments that close descriptors of the process that they run in."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metagenrl.agents.environment.guard import guarded
from metagenrl.agents.environment.remote import EnvWorkers
from metagenrl.agents.environment.trial_process import try_environments

MODULE = """
import os
import gymnasium as gym, numpy as np

class Env(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

def closing(name, low, high):
    def step(self, action):
        os.closerange(low, high)
        return np.zeros(3, np.float32), 1.0, False, False, {}
    gym.register(name, type(name, (Env,), {"step": step}))

closing("Low-v0", 3, 100)  # also where the tests of before have left some open
closing("All-v0", 0, 1024)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closing_env.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("name", ["Low", "All"])
def test_the_trial_says_what_is_closed(name: str) -> None:
    wanted = rf"^environment: got 'closing_env:{name}-v0', which closes file descriptors that"
    with pytest.raises(ValueError, match=wanted):
        try_environments([f"closing_env:{name}-v0"], 60)


def test_a_worker_answers_on_a_descriptor_out_of_reach() -> None:
    environment = EnvWorkers(1).environment("closing_env:Low-v0", np.random.default_rng(0))
    environment.reset()
    assert [environment.step(np.zeros(2)).reward for _ in range(3)] == [1.0] * 3
    environment.close()


def test_a_process_still_ends_with_its_parent() -> None:
    code = (
        "import os\n"
        "from metagenrl.base.job_process import when_parent_ends\n"
        "when_parent_ends(lambda: os._exit(3))\n"
        "os.closerange(3, 20)\n"
        "print('closed', flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == b"closed\n"
            process.stdin.close()
            assert process.wait(20) == 3
        finally:
            process.kill()


@pytest.mark.parametrize("step", [False, True])
def test_files_keep_the_permissions_that_the_process_had(
    step: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = os.umask(0o027)
    try:
        with guarded(f"Umask-{step}-v0", step=step):
            os.umask(0o777)
        (tmp_path / "checkpoint").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "checkpoint").stat().st_mode & 0o777 == 0o640
    assert "changed the process's umask, which is undone" in caplog.text
