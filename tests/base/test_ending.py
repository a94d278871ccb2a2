"""Signals that are one request to end, and signals that are two."""

from __future__ import annotations

import signal
from typing import NoReturn

import pytest

from metagenrl.base.ending import SIGNALS, EndedBySignal, Ending


class EndedAtOnceError(Exception):
    """Where the process would have ended."""


class Lasting(Ending):
    """An ending whose process outlasts it, with a clock that is set by hand."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = 100.0

    def at_once(self, line: str, code: int) -> NoReturn:
        raise EndedAtOnceError(line, code)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_that_comes_twice_within_a_second_is_one_request(signum: int) -> None:
    ending = Lasting()
    with ending.listening(), ending.finishing("all of it"):
        signal.raise_signal(signum)
        ending.now += 0.9
        signal.raise_signal(signum)
    assert ending.code == 128 + signum


@pytest.mark.parametrize(
    ("later", "second"), [(1.1, signal.SIGTERM), (0.0, signal.SIGINT), (0.9, signal.SIGHUP)]
)
def test_a_later_signal_or_another_one_ends_at_once(later: float, second: int) -> None:
    ending = Lasting()
    with ending.listening(), ending.finishing("all of it"):
        signal.raise_signal(signal.SIGTERM)
        ending.now += later
        with pytest.raises(EndedAtOnceError, match="again: ended at once"):
            signal.raise_signal(second)


def test_a_signal_that_comes_twice_lets_a_command_clean_up() -> None:
    cleaned = []

    def end() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    with Lasting().listening(), pytest.raises(EndedBySignal):
        end()
    assert cleaned
