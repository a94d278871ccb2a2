"""Runs to break: a tiny population's command line, and environments with faults on demand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fixtures import forks
from fixtures.processes import family, kill

from metagenrl.runs.metrics_file import read_metrics

TINY = (
    "--preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 --random-steps 60 "
    "--lifetime 0 --envs Pendulum-v1 --wandb disabled --checkpoint-every 100 --snapshot-every 50 "
    "--log-every 50 --engine inprocess"
)

# Faults begin after 100 steps and are over where a file says so. Importing the module, which
# gymnasium does for "faulty:...", registers the environments.
FAULTY = """
import os, re, time
from pathlib import Path
import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv

HERE = Path(__file__).parent

class Faulty(PendulumEnv):
    fault = ""
    calls = 0

    def step(self, action):
        self.calls += 1
        observation, reward, terminated, truncated, info = super().step(action)
        if self.calls > 100 and not (HERE / "healed").exists():
            reward = getattr(self, self.fault)(reward)
        return observation, reward, terminated, truncated, info

    def raises(self, reward):
        raise OSError("the simulator's licence has expired")

    def hangs(self, reward):
        (HERE / "healed").touch()
        time.sleep(3600)

    def stuck(self, reward):
        time.sleep(3600)

    def seized(self, reward):  # in C code that never lets go of Python's lock
        re.match("(a+)+$", "a" * 60 + "b")

    def dawdles(self, reward):
        if self.calls % 40 == 1:
            time.sleep(float(os.environ["DAWDLE"]))
        return reward

    def poisons(self, reward):
        from metagenrl.agents import member  # of the agent's own process
        if not hasattr(member, "honest"):
            member.honest = member.AlphaGradient
            member.AlphaGradient = lambda *given: member.honest(
                *given[:5], given[5] * float("nan"), float("nan"), *given[7:]
            )
        return reward

class Balks(PendulumEnv):
    def __init__(self, *arguments, **options):
        made = HERE / "made"
        made.write_text((made.read_text() if made.exists() else "") + "x")
        if made.read_text() == "xx":  # the first one was its trial, in another process
            raise OSError("no licence is free")
        super().__init__(*arguments, **options)

gymnasium.register("Balks-v0", Balks, max_episode_steps=200)
for name in ("raises", "hangs", "stuck", "seized", "dawdles", "poisons"):
    kind = type(name.capitalize(), (Faulty,), {"fault": name})
    gymnasium.register(f"{name.capitalize()}-v0", kind, max_episode_steps=200)
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the module `faulty`, which every process of a run can import."""
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "faulty.py").write_text(FAULTY)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), before])))
    return folder


@dataclass
class Run:
    """A `metagenrl train` in a process of its own."""

    folder: Path
    process: subprocess.Popen[str] | None = None
    printed: str = ""  # as far as `wait_for_line` has read

    def start(self, *words: str) -> Run:
        """Start it with these flags behind the common ones (of two, the later counts)."""
        self.process = _train([*TINY.split(), "--run-dir", str(self.folder), *words])
        return self

    def start_impatient(self, seconds: float, *words: str) -> Run:
        """As `start`, but what is in the way of a file is waited for so long, not half an hour."""
        before = f"from metagenrl.base import retry; retry.PATIENCE = {seconds}; "
        self.process = _train([*TINY.split(), "--run-dir", str(self.folder), *words], before)
        return self

    def resume(self, *words: str) -> Run:
        """Go on with the folder."""
        self.process = _train(["--resume", str(self.folder), *words])
        return self

    def finish(self, code: int = 0, seconds: float = 900.0) -> str:
        """Wait for its end; what it printed. Raises unless it exits with `code`."""
        assert self.process is not None
        if self.printed:  # `communicate` would pass over what is in the stream's buffer
            assert self.process.stdout is not None
            out, self.printed = self.printed + self.process.stdout.read(), ""
            self.process.wait(seconds)
        else:
            out, _ = self.process.communicate(timeout=seconds)
        assert self.process.returncode == code, out[-6000:]
        return out

    def wait_for_line(self, text: str) -> None:
        """Until it prints a line with this in it; raises where it ends before."""
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if text in line:
                return
        raise AssertionError(self.printed[-6000:])

    def messages(self, what: str) -> list[str]:
        """Of its events of one kind."""
        return [row.message for row in read_metrics(self.folder).events if row.what == what]

    def contributors(self, after: int) -> set[int]:
        """The agents of which a gradient was applied after this round: one may send zeros now
        and then, which are rejected, so that a single round's number says little."""
        rows = (row for row in read_metrics(self.folder).objective if row.round > after)
        return {int(key.partition(".")[0]) for row in rows for key in row.applied}

    def round(self) -> int:
        """The newest that its metrics know."""
        return read_metrics(self.folder).objective[-1].round

    def wait_for(self, what: str, seconds: float = 600.0) -> None:
        """Until there is an event of this kind."""
        self.wait_until(lambda: bool(self.messages(what)), seconds)

    def wait_until(self, condition: Callable[[], object], seconds: float = 600.0) -> None:
        """Until it is true; raises where the run ends before."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, self.process.communicate()[0][-6000:]
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def checkpoints(self) -> list[Path]:
        """The finished ones."""
        return sorted((self.folder / "checkpoints").glob("round-*"))


def _train(words: list[str], before: str = "") -> subprocess.Popen[str]:
    begin = subprocess.Popen if before else forks.Popen  # a fork has taken over what it changes
    return begin(
        [sys.executable, "-c", f"{before}{forks.METAGENRL[-1]}", "train", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """One run; its process and all that it started are ended with the test."""
    run = Run(tmp_path / "run")
    yield run
    if run.process is not None and run.process.poll() is None:
        kill(family(run.process.pid))
        run.process.wait()
