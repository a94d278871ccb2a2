"""What an environment does to its process is undone where it happens."""

import logging
import logging.config
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

from metagenrl.agents.environment.guard import at_most, guarded
from metagenrl.agents.environment.make import close_environment


def _streams() -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


@pytest.mark.parametrize(
    ("change", "look", "what"),
    [
        (lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
         lambda: signal.getsignal(signal.SIGTERM), "signal handlers"),
        (_streams, lambda: (sys.stdout, sys.stderr), "standard output"),
        (lambda: warnings.simplefilter("error"), lambda: list(warnings.filters), "warning filters"),
    ],
)  # fmt: skip
def test_a_step_changes_nothing_of_the_process(
    change: Callable[[], Any], look: Callable[[], Any], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = look()
    with guarded(f"Changes {what}", step=True):
        change()
        assert look() != before
    assert look() == before
    assert f"changed the process's {what}, which is undone" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda: logging.config.dictConfig({"version": 1}),
        lambda: logging.disable(logging.CRITICAL),
        lambda: logging.basicConfig(force=True, handlers=[], level=logging.CRITICAL),
        lambda: logging.getLogger("metagenrl").setLevel(logging.CRITICAL),
        lambda: logging.getLogger("metagenrl").handlers.clear(),
    ],
    ids=["dictConfig", "disable", "basicConfig", "level", "handlers"],
)
def test_the_runs_log_is_not_silenced(
    change: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    ours = logging.getLogger("metagenrl")
    handler = logging.NullHandler()
    ours.addHandler(handler)
    level = ours.level, logging.root.level
    try:
        with guarded(str(change)):
            change()
        assert "changed the process's logging, which is undone" in caplog.text
        logging.getLogger("metagenrl.agents.cohort").warning("it is heard")
        assert "it is heard" in caplog.text
        assert handler in ours.handlers
        assert (ours.level, logging.root.level) == level
    finally:
        ours.removeHandler(handler)


class Hangs(gymnasium.Env[Any, Any]):
    def close(self) -> None:
        time.sleep(60)


def test_a_close_that_hangs_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("metagenrl.agents.environment.make.CLOSE_TIMEOUT", 0.2)
    close_environment(Hangs(), "Hangs-v0")
    assert "Hangs-v0: close() raised TimeoutError: it had not ended after 0.2 s" in caplog.text


def test_another_timer_goes_on() -> None:
    fired: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda signum, frame: fired.append(signum))
    other = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with at_most(60.0):
            time.sleep(0.1)
        assert not fired
        deadline = time.monotonic() + 30
        while not fired and time.monotonic() < deadline:
            time.sleep(0.01)
        assert fired == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *other)
