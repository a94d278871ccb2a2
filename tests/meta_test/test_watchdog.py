"""Work that stops to move is given up, work that moves or waits for a CPU is not."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metagenrl.meta_test import watchdog
from metagenrl.meta_test.watchdog import watched

Sign = Callable[[], None]


def test_work_that_hangs_is_named_by_its_place() -> None:
    release = threading.Event()

    def hangs(sign: Sign) -> None:
        sign()
        release.wait(60)

    with pytest.raises(TimeoutError, match=r"hangs in wait \(threading.py:\d+\): no step for 0.2"):
        watched(hangs, 0.2, 60.0)
    release.set()


def test_work_that_moves_may_take_as_long_as_it_likes() -> None:
    done = []

    def moves(sign: Sign) -> None:
        for _ in range(20):
            time.sleep(0.05)
            sign()
        done.append(True)

    watched(moves, 0.5, 60.0)
    assert done


def test_what_the_work_raises_is_raised() -> None:
    def raises(sign: Sign) -> None:
        raise OSError("no licence")

    with pytest.raises(OSError, match="no licence"):
        watched(raises, 60.0, 60.0)


def test_waiting_for_a_cpu_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says that the thread was kept waiting all the time."""
    stat = tmp_path / "schedstat"
    begun = time.monotonic_ns()

    class Starving(type(stat)):  # type: ignore[misc]
        def read_text(self) -> str:
            return f"7 {time.monotonic_ns() - begun} 3\n"

    monkeypatch.setattr(watchdog, "Path", Starving)
    watched(lambda sign: time.sleep(0.6), 0.1, 0.1)


def test_who_was_starved_may_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel forgets a thread that has ended, and with it how long that was kept waiting."""

    class Forgotten(type(tmp_path)):  # type: ignore[misc]
        told = False

        def read_text(self) -> str:
            if Forgotten.told:
                raise FileNotFoundError
            Forgotten.told = True
            return f"7 {10**12} 3\n"

    monkeypatch.setattr(watchdog, "Path", Forgotten)
    watched(lambda sign: time.sleep(0.2), 5.0, 5.0)
