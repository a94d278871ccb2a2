"""What is said of a process that failed, from its exit code and the end of its log."""

import pytest

from metagenrl.meta_test.pool import _reason


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (1, "Traceback:\nValueError: no such", "ValueError: no such"),
        (7, "", "its process ended with exit code 7"),
        (-9, "anything", "its process was killed by SIGKILL"),
        (0, "", "its process ended before the last step: the environment may have called os._exit"),
    ],
)
def test_the_reason_is_in_the_users_words(code: int, log: str, words: str) -> None:
    assert _reason(code, log) == words
