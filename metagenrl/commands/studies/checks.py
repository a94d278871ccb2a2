"""Whether the command lines of a study are valid, told before the first of them is started."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.commands.epg import epg_train_config
from metagenrl.commands.resolve import baseline_config, test_config, train_config
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE


def check_words(words: Sequence[str], field: str) -> None:
    """Refuse a `train`, `test` or `baseline` that its own command would refuse.

    What it is run on (an objective that the study is still to train) is not looked at. Raises
    `UsageError` in the name of `field`.
    """
    try:
        _configuration(words)
    except ValueError as error:
        line = shlex.join(["metagenrl", *words])
        raise UsageError(
            f"{field}: got {line!r} ({' '.join(str(error).split())}), allowed: what that command "
            "takes"
        ) from error


def _configuration(words: Sequence[str]) -> object:
    """The command's configuration, whose environments have been tried."""
    command, rest = words[0], list(words[1:])
    rest += ["--run-dir", str(Path(tempfile.gettempdir()) / "not-made")]
    if command == "train":
        return train_config(rest)
    if command == "test":
        return test_config(_with_random_objective(rest))
    if "epg" in rest[:2]:
        return epg_train_config(rest)
    return baseline_config(rest)


def _with_random_objective(words: list[str]) -> list[str]:
    """The test of an objective that is there at once."""
    at = words.index("--objective") + 1
    return [*words[:at], RANDOM_OBJECTIVE, *words[at + 1 :]]
