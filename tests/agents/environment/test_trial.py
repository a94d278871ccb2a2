"""What is wrong with an environment is told before anything is started, in one line."""

import os
import sys

import numpy as np
import pytest

from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.environment.guard import guarded
from metagenrl.agents.environment.trial_process import each_tried_once, try_environments
from metagenrl.policies.kept import facts_of

MODULE = """
import multiprocessing, os, sys, time, threading
import gymnasium as gym, numpy as np

class Env(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 3)
        return self.x.astype(np.float32), {}

    def step(self, action):
        return self.x.astype(np.float32), 1.0, False, False, {}

def variant(name, **methods):
    gym.register(f"{name}-v0", type(name, (Env,), methods))

def step(*values):
    return lambda self, action: values

X = np.zeros(3, np.float32)
def reset(self): return X, {}
def flaky(self, action):
    if self.np_random.random() < 0.01: raise ValueError("exploded")
    return X, 1.0, False, False, {}
def leaves_a_thread(self, action):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return X, 1.0, False, False, {}

variant("Sound")
variant("Element", step=step(X, np.array([1.0]), False, False, {}))
variant("Flags", step=step(X, 1.0, np.array([False]), np.array(False), {}))
variant("Flag", step=step(X, 1.0, "False", False, {}))
variant("Pair", step=step(X, np.array([1.0, 2.0]), False, False, {}))
variant("NaN", step=step(X, float("nan"), False, False, {}))
variant("Rich", step=step(X, 1e300, False, False, {}))
variant("Size", step=step(np.zeros(4), 1.0, False, False, {}))
variant("Huge", step=step(np.full(3, 1e300), 1.0, False, False, {}))
variant("OldStep", step=step(X, 1.0, False, {}))
variant("OldReset", reset=lambda self, *, seed=None, options=None: X)
variant("NoSeed", reset=reset)
variant("Exits", step=lambda self, action: sys.exit(3))
variant("Leaves", step=lambda self, action: os._exit(0))
variant("Crashes", step=lambda self, action: os.kill(os.getpid(), 11))
variant("Hangs", step=lambda self, action: time.sleep(600))
variant("Flaky", step=flaky)
variant("Threads", step=leaves_a_thread)
variant("Complex", step=step(X.astype(complex), 1.0, False, False, {}))
def forks(self, action):
    os.fork()
    return X, 1.0, False, False, {}
variant("Forks", step=forks)
variant("ForksWhenMade", __init__=lambda self: os.fork() and None or None)
class Panic(BaseException): pass
def panics(self, *arguments, **named): raise Panic("in Rust")
variant("Panics", step=panics)
variant("PanicsWhenMade", __init__=panics)
variant("PanicsWhenClosed", close=panics)
class Unshown:
    def __repr__(self): raise RuntimeError("no words")
class Unsaid(Exception):
    def __str__(self): raise RuntimeError("no words")
def raises_unsaid(self, action): raise Unsaid
class NoSamples(gym.spaces.Box):
    def sample(self, *arguments, **named): raise OSError("no samples")
variant("Unshown", step=step(X, Unshown(), False, False, {}))
variant("Unsaid", step=raises_unsaid)
variant("Integer", step=step(X, 10**400, False, False, {}))
variant("NoSamples", action_space=NoSamples(-1, 1, (2,), np.float32))
variant("Wide", action_space=gym.spaces.Box(-1e308, 1e308, (2,), np.float64))
flipped = gym.spaces.Box(-1, 2, (2,), np.float32)
flipped.low, flipped.high = flipped.high, flipped.low
variant("Flipped", action_space=flipped)
variant("Needs", __init__=lambda self, size, seed: None)
variant("Pools", __init__=lambda self: multiprocessing.get_context("fork").Pool(1).terminate())

def raises(self): raise RuntimeError("close!")
variant("Unclosed", close=raises)
variant("Shuts", close=lambda self: sys.exit(3))
gym.register("Spaceless-v0", lambda: gym.Wrapper(gym.Env()))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "tried_env.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("tried_env", None)


@pytest.mark.usefixtures("module")
def test_sound_environments_stand_their_trial():
    names = (
        "Sound",
        "Element",
        "Flags",
        "Flaky",
        "Threads",
        "Pools",
        "Unclosed",
        "PanicsWhenClosed",
    )
    found = try_environments([f"tried_env:{name}" for name in names], 60)
    assert [one.text for one in found.values()] == [f"tried_env:{name}-v0" for name in names]
    assert {one.facts.observation_size for one in found.values()} == {3}
    assert found["tried_env:Threads"].note.endswith(
        "(sleep)): the command waits for them at its end, a minute at most"
    )
    assert found["tried_env:Sound"].note == ""
    assert "tried_env" not in sys.modules, "it ran in this process"


@pytest.mark.usefixtures("module")
def test_a_study_tries_each_environment_once(tmp_path):
    tried = tmp_path / "tried_env.py"
    with each_tried_once():
        first = try_environments(["tried_env:Sound"])
        tried.write_text("raise OSError('tried again')")
        assert try_environments(["tried_env:Sound"]) == first
    with pytest.raises(ValueError, match="tried again"):
        try_environments(["tried_env:Sound"])


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Pair", "step() returned the reward array([1., 2.]), allowed: one finite number"),
        ("Flag", "step() returned terminated = 'False', allowed: True or False"),
        ("NaN", "step() returned the reward nan, allowed: one finite number"),
        ("Rich", "reward 1e+300, allowed: one finite number, at most 3.4e+38 (float32)"),
        ("Size", "step() returned an observation of 4 numbers, allowed: 3 finite numbers"),
        ("Huge", "an observation with 1e+300 in it, allowed"),
        ("OldStep", "step() returned 4 values (gym's old interface), allowed: step(action), which"),
        (
            "OldReset",
            "reset() returned a single ndarray (gym's old interface), allowed: reset(self",
        ),
        ("NoSeed", "reset() raised TypeError: reset() got an unexpected keyword argument 'seed'"),
        ("Exits", "step() called sys.exit(3)"),
        ("Panics", "whose step() raised Panic: in Rust, allowed: exceptions"),
        ("PanicsWhenMade", "it cannot be made: raised Panic: in Rust"),
        ("Leaves", "ended its process with exit code 0 in its trial"),
        ("Crashes", "ended its process by SIGSEGV in its trial"),
        ("Hangs", "takes longer than 5 s to be made, reset, stepped and closed"),
        ("Complex", "step() returned the observation array([0.+0.j, 0.+0.j, 0.+0.j])"),
        ("Forks", "step() called os.fork(), allowed: subprocess or multiprocessing"),
        ("ForksWhenMade", "which calls os.fork() where it is made, allowed: subprocess or"),
        ("Unshown", "step() returned the reward a Unshown, allowed: one finite number"),
        ("Unsaid", "step() raised Unsaid, allowed: step(action), which returns"),
        ("Integer", "step() returned the reward 1000"),
        ("NoSamples", "which raises OSError: no samples, allowed: one that raises in reset()"),
        ("Wide", "whose action dimension 0 goes from -1e+308 to 1e+308, allowed: a lower bound"),
        ("Flipped", "whose action dimension 0 goes from 2 to -1, allowed: a lower bound, then"),
        ("Needs", "allowed: with size=..., seed=..., which it needs, by --env-kwargs"),
        ("Sond", "for example tried_env:Sound-v0"),
    ],
)
def test_an_unsound_one_is_refused_in_one_line(name, complaint):
    with pytest.raises(ValueError, match=f"^environment: got 'tried_env:{name}-v0'") as refusal:
        try_environments([f"tried_env:{name}-v0"], 5 if name == "Hangs" else 60)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ['Pendulum-v1(g={"unifrom": [6, 7]})', 'Pendulum-v1(g="abc")', "Pendulum-v1(g=null)"]
)
def test_an_argument_that_only_a_step_finds_wrong_is_refused(text):
    with pytest.raises(ValueError, match=r"^environment: got 'Pendulum-v1.*raised"):
        try_environments([text], 60)


def test_what_is_done_to_the_process_is_undone(tmp_path, caplog):
    import signal
    import warnings

    before = (
        os.getcwd(), np.geterr(), signal.getsignal(signal.SIGTERM), list(warnings.filters),
        sys.stdout, signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    )  # fmt: skip
    with guarded("Rude-v0"):
        os.chdir(tmp_path)
        np.seterr(all="raise")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        warnings.simplefilter("error")
        sys.stdout = None
    after = (
        os.getcwd(), np.geterr(), signal.getsignal(signal.SIGTERM), list(warnings.filters),
        sys.stdout, signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    )  # fmt: skip
    assert after == before
    assert len([line for line in caplog.messages if "which is undone" in line]) == 6


def test_a_copy_of_the_process_ends_where_it_comes_back():
    for step in (False, True):
        with guarded("Forking-v0", step=step):
            child = os.fork()
        assert os.waitpid(child, 0) == (child, 0)  # only this process comes here


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_closed_is_no_trap(stream, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, stream, (tmp_path / "out").open("w"))
    with guarded(f"Closing-{stream}-v0"):
        getattr(sys, stream).close()
    print("more", file=getattr(sys, stream), flush=True)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_a_descriptor_that_is_closed_is_not_given_to_the_next_file(number, step, tmp_path, capfd):
    with guarded("Sound-v0"):
        pass  # it is made
    with guarded(f"Closing-{number}-{step}-v0", step=step):
        os.close(number)
        if not step:
            os.open(os.devnull, os.O_WRONLY)  # which gets its number
    with (tmp_path / "checkpoint").open("wb") as file:
        assert file.fileno() > 2
        os.write(number, b"shown")
    out = capfd.readouterr()
    assert [out.out, out.err][number - 1] == "shown"
    assert (tmp_path / "checkpoint").read_bytes() == b""


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("name", ["Unclosed", "Shuts"])
def test_what_closing_raises_is_logged(name, caplog):
    Environment(f"tried_env:{name}-v0", np.random.default_rng(0)).close()
    assert f"tried_env:{name}-v0: close() raised" in caplog.text
    caplog.clear()
    assert facts_of("td3", f"tried_env:{name}-v0", 0, 1).action_size == 2
    assert f"tried_env:{name}-v0: close() raised" in caplog.text
