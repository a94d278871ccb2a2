"""Environments in the user's own modules: what a module may be called, ask, start and change."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metagenrl.agents.environment.guard import guarded
from metagenrl.agents.environment.make import close_environment, make_environment
from metagenrl.agents.environment.trial_process import try_environments
from metagenrl.base.process import TRIAL

SOUND = """
import gymnasium as gym, numpy as np

class Env(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action):
        return np.zeros(3, np.float32), 1.0, False, False, {}

gym.register("Own-v0", Env)
"""
CALL = f"{SOUND}\nimport metagenrl\nmetagenrl.test(objective='random', run_dir='run', env="


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize("name", ["my-env", "1env", "class"])
def test_a_module_may_be_called_as_it_likes(name: str, folder: Path) -> None:
    (folder / f"{name}.py").write_text(SOUND)
    (found,) = try_environments([f"{name}:Own"], 60).values()
    assert found.text == f"{name}:Own-v0"


@pytest.mark.parametrize(
    ("name", "code", "complaint"),
    [
        ("random", SOUND, r"random.py, which hides random.py here: rename that"),
        ("json", SOUND, r"json/__init__.py, which hides json.py here: rename that"),
        ("marshal", SOUND, "marshal is a part of Python, which hides marshal.py here"),
        ("own_env", "x = 1", "own_env.py, which does not register it"),
        ("./own_env", SOUND, r"with its module as `import` names it (own_env), not its file"),
        ("sub/own_env.py", SOUND, "as `import` names it (sub.own_env), not its file"),
        ("../sub/own_env.py", SOUND, "as `import` names it (own_env), not its file"),
        ("~/own_env.py", SOUND, "as `import` names it (own_env), not its file"),
        ("own_env", "input('which one?')", "EOF"),
        ("own_env", "breakpoint()", "BdbQuit"),
        ("own_env", f"{SOUND}import os; print('bye'); os._exit(1)", "it printed last: 'bye'"),
        ("own_env", f"{SOUND}import json\njson.dumps = str", "which changes `json` so that"),
        ("own_env", f"{CALL}'Pendulum-v1')", 'calls under `if __name__ == "__main__":`'),
        ("own_env", f"{CALL}'own_env:Own-v0')", 'calls under `if __name__ == "__main__":`'),
    ],
)
def test_a_module_of_no_use_is_refused_with_the_reason(
    name: str, code: str, complaint: str, folder: Path
) -> None:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.with_suffix(".py").write_text(code)
    with pytest.raises(ValueError, match=f"^environment: got '{name}:Own-v0'") as refusal:
        try_environments([f"{name}:Own-v0"], 60)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (folder / "run").exists()


def test_nothing_is_tried_within_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRIAL, "1")
    with pytest.raises(ValueError, match="called while a run imports this module"):
        try_environments(["own_env:Own-v0"], 60)


def test_a_module_that_goes_on_after_the_refusal_starts_no_run_in_its_agents(folder: Path) -> None:
    """They import it as well: run within run, without end."""
    code = f"""{SOUND}
import metagenrl
try:
    metagenrl.baseline(algo="td3", env="Pendulum-v1", run_dir="run")
except metagenrl.UsageError as error:
    print(error)
"""
    (folder / "own_env.py").write_text(code)
    assert try_environments(["own_env:Own-v0"], 60)
    env, _ = make_environment("own_env:Own-v0")  # as an agent's process does
    close_environment(env, "own_env:Own-v0")
    assert not (folder / "run").exists()


@pytest.mark.parametrize("what", ["the observation", "the reward"])
def test_numbers_that_numpy_cannot_read_are_named(what: str, folder: Path) -> None:
    plain, size = {"the observation": ("np.zeros(3, np.float32)", 3), "the reward": ("1.0", ())}[
        what
    ]
    code = SOUND.replace(plain, f"torch.zeros({size}, requires_grad=True)")
    (folder / "own_env.py").write_text(f"import torch\n{code}")
    with pytest.raises(ValueError, match=rf"step\(\) returned {what} tensor\("):
        try_environments(["own_env:Own-v0"], 60)


@pytest.mark.parametrize("step", [False, True])
def test_torch_defaults_are_put_back(step: bool, caplog: pytest.LogCaptureFixture) -> None:
    with guarded(f"Torch-{step}-v0", step=step):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_default_device("meta")
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.zeros(1).device == torch.device("cpu")
    assert "changed the process's torch defaults, which is undone" in caplog.text


def test_what_a_process_of_ours_is_asked_gets_no_answer() -> None:
    code = (
        "import os\n"
        "from metagenrl.base.job_process import read_job, when_parent_ends\n"
        "print(read_job())\n"
        "when_parent_ends(lambda: os._exit(3))\n"
        "try: input('?')\n"
        "except EOFError: print('no answer', flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"the job\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"b'the job\\n'\n"
    assert process.stdout.readline() == b"?no answer\n"
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(60) == 3
