"""Which environments are accepted, and the one line that refuses the others."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Space, Tuple

from metagenrl.agents.environment.make import EnvironmentFacts, check_environment

LOW, HIGH = np.float32([-1, 0, 10]), np.float32([1, 5, 30])


class Spaces(gymnasium.Env):
    """An environment that is only looked at."""

    observation_space: Space[Any] = Box(-np.inf, np.inf, (2, 2), np.float64)
    action_space: Space[Any] = Box(LOW, HIGH)
    closed = 0

    def close(self) -> None:
        Spaces.closed += 1


@pytest.fixture
def spaces(monkeypatch):
    """Registers `Spaces-v0`; a call gives it other spaces for this test."""

    def configure(**attributes: Any) -> str:
        for name, value in attributes.items():
            monkeypatch.setattr(Spaces, name, value)
        return "Spaces-v0"

    gymnasium.register("Spaces-v0", entry_point=Spaces)
    configure(closed=0)
    yield configure
    del gymnasium.registry["Spaces-v0"]


def test_check_environment_gives_the_sizes_and_closes(spaces):
    assert check_environment("Hopper-v5") == EnvironmentFacts("Hopper-v5", 11, 3, 1000)
    assert Spaces.closed == 0
    assert check_environment(spaces()) == EnvironmentFacts("Spaces-v0", 4, 3, None)
    assert Spaces.closed == 1
    assert check_environment("Pendulum-v1") == EnvironmentFacts("Pendulum-v1", 3, 1, 200)


@pytest.mark.parametrize(
    ("env_id", "parts"),
    [
        ("HalfCheeta-v5", ["for example HalfCheetah-v5"]),
        ("halfcheetah", ["for example HalfCheetah-v5"]),
        ("LunarLanderContinuous-v2", ["for example LunarLanderContinuous-v3", "deprecated"]),
        ("HalfCheetah-v2", ["for example HalfCheetah-v5"]),
        ("Hopper-v77", ["for example Hopper-v5"]),
        ("zzzzzz", ["the id of an installed Gymnasium environment (", "zzzzzz"]),
        ("", ["the id of an installed Gymnasium environment ("]),
        (
            "no_such_module:Some-v0",
            ["there is no no_such_module.py in the working", "is installed"],
        ),
        ("a:b:Some-v0", ["with its module before a single colon"]),
        ("CartPole-v1", ["action space Discrete(2)", "a Box action space of floats"]),
        ("FrozenLake-v1", ["observation space Discrete(16)", "a Box observation space"]),
        ("Blackjack-v1", ["observation space Tuple(", "a Box observation space"]),
    ],
)
def test_unsuitable_environments_are_refused_in_one_line(env_id, parts, capfd, recwarn):
    with pytest.raises(ValueError, match=r"^environment: got .") as refusal:
        check_environment(env_id)
    message = str(refusal.value)
    assert message.startswith(f"environment: got {env_id!r}")
    assert "allowed: " in message
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("attribute", "space", "part"),
    [
        ("observation_space", Dict({"a": Box(0, 1, (2,))}), "observation space Dict"),
        ("observation_space", Tuple((Box(0, 1, (2,)),)), "observation space Tuple"),
        ("action_space", Box(-np.inf, np.inf, (2,)), "finite bounds in action dimension 0, 1"),
        ("action_space", Box(LOW, np.float32([1, np.inf, 30])), "bounds in action dimension 1,"),
        ("action_space", Box(0, 5, (2,), np.int64), "actions of type int64"),
        ("action_space", Discrete(3), "action space Discrete(3)"),
        ("action_space", Box(0, 1, (0,)), "allowed: a Box space of at least one entry"),
        ("observation_space", Box(0, 1, (3, 0)), "allowed: a Box space of at least one entry"),
    ],
)
def test_unsuitable_spaces_are_refused_and_closed(spaces, attribute, space, part):
    with pytest.raises(ValueError, match=r"^environment: got 'Spaces.v0' ") as refusal:
        check_environment(spaces(**{attribute: space}))
    assert part in str(refusal.value)
    assert Spaces.closed == 1


def test_image_observations_are_flattened(spaces):
    space = Box(0, 255, (4, 5, 3), np.uint8)
    assert check_environment(spaces(observation_space=space)).observation_size == 60


def test_a_constructor_that_fails_is_reported_with_its_reason(spaces):
    def broken() -> Spaces:
        raise RuntimeError("no licence\nfound")

    gymnasium.registry["Spaces-v0"].entry_point = broken
    with pytest.raises(ValueError, match=r"'Spaces-v0', .*\(it cannot be made: no licence found\)"):
        check_environment("Spaces-v0")


MUJOCO = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")
import numpy as np
from metagenrl.agents.environment.environment import Environment
print("torch" in sys.modules, "mujoco" in sys.modules)
environment = Environment("HalfCheetah-v5", np.random.default_rng(0))
environment.reset()
environment._env.unwrapped.data.qpos[:] = 1e12
environment.step(np.zeros(6))
"""


def test_mujoco_warns_through_logging_only_and_torch_stays_out(tmp_path):
    """By itself MuJoCo prints to standard error and writes a file where it runs."""
    run = subprocess.run(
        [sys.executable, "-c", MUJOCO],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    lines = run.stdout.splitlines()
    assert lines[0] == "False False"
    assert any(line.startswith("WARNING MuJoCo: Nan, Inf or huge value") for line in lines)
    assert not any("deprecated" in line for line in lines if line.startswith("WARNING"))
    assert run.stderr == ""
    assert os.listdir(tmp_path) == []
