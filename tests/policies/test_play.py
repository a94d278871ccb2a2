"""A policy's environment may raise, hang on without an end, or draw what no film can hold."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagenrl.base.checks import UsageError
from metagenrl.commands.main import main
from metagenrl.policies import find, play
from metagenrl.policies.find import kept_policy
from metagenrl.policies.kept import KeptPolicy

GOLDEN = Path(__file__).parents[1] / "golden/v0.1"
MODULE = """
import sys
import gymnasium as gym, numpy as np

class Env(gym.Env):
    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)
    t = 0

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(3, np.float32), 1.0, False, False, {}

    def render(self):
        return np.full((32, 32, 3), self.t, np.uint8)

def variant(name, limit=None, **methods):
    gym.register(f"{name}-v0", type(name, (Env,), methods), max_episode_steps=limit)

def raises(self, *arguments, **named): raise RuntimeError("broken\\nhere")
def leaves(self, *arguments, **named): sys.exit(3)
def picture(make): return lambda self: make(self.t)

variant("Endless")
variant("Long", limit=1200)
variant("Raises", step=raises)
variant("Leaves", reset=leaves)
variant("NaN", step=lambda self, action: (np.full(3, np.nan), 1.0, False, False, {}))
variant("Other", observation_space=gym.spaces.Box(-1, 1, (4,), np.float32))
variant("Unclosed", limit=5, close=raises)
variant("RenderLeaves", render=leaves)
variant("Grows", render=picture(lambda t: np.zeros((32 + t, 32, 3), np.uint8)))
variant("Tiny", render=picture(lambda t: np.zeros((1, 1, 3), np.uint8)))
variant("Floats", render=picture(lambda t: np.zeros((32, 32, 3))))
variant("Flat", render=picture(lambda t: np.zeros(32, np.uint8)))
variant("Grey", limit=5, render=picture(lambda t: np.full((33, 31), t, np.uint8)))
variant("Clear", limit=5, render=picture(lambda t: np.full((33, 31, 4), t, np.uint8)))
"""


@pytest.fixture
def policy_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets `enjoy` and `record` find a policy that was trained in the environment of this name."""
    (tmp_path / "seen_env.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    kept = kept_policy(GOLDEN / "cohort", 0)

    def named(name: str) -> KeptPolicy:
        facts = replace(kept.facts, env=f"seen_env:{name}-v0", observation_size=3, action_size=1,
                        action_low=(-2.0,), action_high=(2.0,))  # fmt: skip
        policy = replace(kept, facts=facts)
        monkeypatch.setattr(find, "kept_policy", lambda run, seed: policy)
        return policy

    assert kept.facts.observation_size == 3
    yield named
    sys.modules.pop("seen_env", None)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as error:
        main([words[0], str(GOLDEN / "cohort"), *words[1:]])
    assert error.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Raises", "'seen_env:Raises-v0' whose step() raised RuntimeError: broken here, allowed"),
        ("Leaves", "'seen_env:Leaves-v0' whose reset() called sys.exit(3), allowed: exceptions"),
        ("NaN", "whose step() returned an observation with nan in it, allowed: 3 finite numbers"),
        ("Other", "with 4 observations and 1 actions, allowed: 3 and 1, as the policy has"),
    ],
)
def test_a_broken_environment_is_one_line(
    name: str, line: str, policy_in: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    policy_in(name)
    assert line in refused(capsys, "enjoy", "--no-window")
    out = tmp_path / "film.gif"
    assert line in refused(capsys, "record", "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("RenderLeaves", "which cannot be drawn here (called sys.exit(3)), allowed"),
        ("Grows", "returned (33, 32, 3) after (32, 32, 3), allowed: pictures of one size"),
        ("Tiny", "returned uint8 (1, 1, 3), allowed: uint8 [height, width, 3], at least 16 pixels"),
        ("Floats", "returned float64 (32, 32, 3), allowed: uint8 [height, width, 3]"),
        ("Flat", "returned uint8 (32,), allowed: uint8 [height, width, 3]"),
    ],
)
def test_pictures_that_no_film_can_hold_are_one_line(
    name: str, line: str, policy_in: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    policy_in(name)
    assert line in refused(capsys, "record", "--out", str(tmp_path / "film.mp4"))
    assert [path.name for path in tmp_path.glob("*film*")] == []


@pytest.mark.parametrize("name", ["Grey", "Clear"])
def test_a_grey_or_transparent_picture_is_filmed(
    name: str, policy_in: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy_in(name)
    out = tmp_path / "film.gif"
    main(["record", str(GOLDEN / "cohort"), "--out", str(out)])
    assert out.read_bytes()[:3] == b"GIF"
    assert "return 5.0, 5 steps\n" in capsys.readouterr().out


def test_an_episode_goes_to_its_own_limit(
    policy_in: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert play.episode(policy_in("Long"), 0).length == 1200
    policy_in("Endless")
    main(["enjoy", str(GOLDEN / "cohort"), "--episodes", "1", "--no-window"])
    cut = "return 1,000.0, 1,000 steps (cut: the episode had not ended)\n"
    assert cut in capsys.readouterr().out
    out = ["--out", str(tmp_path / "film.gif"), "--max-steps", "3"]
    main(["record", str(GOLDEN / "cohort"), *out])
    assert "3 steps (cut: the episode had not ended)\n" in capsys.readouterr().out


def test_what_closing_raises_changes_no_episode(policy_in: Any) -> None:
    lived = play.episode(policy_in("Unclosed"), 0)
    assert (lived.length, lived.cut) == (5, False)


def test_one_frame_is_uint8_with_three_colours(policy_in: Any) -> None:
    frames: list[Any] = []
    play.episode(policy_in("Grey"), 0, "rgb_array", frames.append)
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((33, 31, 3), "uint8")}
    assert [int(frame.max()) for frame in frames] == [0, 1, 2, 3, 4]
    assert np.ptp(frames[-1]) == 0
    with pytest.raises(UsageError, match="float64"):
        play.episode(policy_in("Floats"), 0, "rgb_array", frames.append)
