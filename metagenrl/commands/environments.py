"""Tries the environments that a configuration names, before anything is started or written."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from metagenrl.base.checks import UsageError
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig

Config = TypeVar("Config")


def with_tried(config: Config) -> Config:
    """`config` with every environment under the id that Gymnasium takes it for.

    Each has been made, reset and stepped. Raises `UsageError`, one line, where one is unknown,
    cannot be made or does not do what an environment has to.
    """
    held_out = getattr(config, "held_out", None)
    timeout = getattr(config, "env_start_timeout", None)
    fields = {name: getattr(config, name) for name in ("env", "envs") if hasattr(config, name)}
    alone = isinstance(config, MetaTestConfig | BaselineConfig)  # each agent in a process
    elsewhere = alone or getattr(config, "engine", "") == "ray"
    found = {n: _tried(n, value, timeout, elsewhere) for n, value in fields.items() if value}
    if held_out is not None and held_out.eval_envs:
        tried = _tried("eval_envs", held_out.eval_envs, timeout, elsewhere=True)
        found["held_out"] = dataclasses.replace(held_out, eval_envs=tried)
    return dataclasses.replace(config, **found) if found else config  # type: ignore[type-var]


def _tried(
    field: str, value: str | Sequence[str], timeout: float | None, elsewhere: bool = False
) -> Any:
    texts = [value] if isinstance(value, str) else value
    facts = tried_facts(field, texts, timeout, elsewhere)
    names = tuple(one.env_id for one in facts)
    return names[0] if isinstance(value, str) else names


def tried_facts(
    field: str, texts: Sequence[str], timeout: float | None, elsewhere: bool = False
) -> list[Any]:
    """The `EnvironmentFacts` of each, in order. Raises `UsageError` in the name of `field`.

    `elsewhere`: they are made in other processes, which have only what a module registers.
    """
    # Gymnasium takes a while to import.
    from metagenrl.agents.environment.limits import START_TIMEOUT
    from metagenrl.agents.environment.trial_process import try_environments

    try:
        found = try_environments(texts, START_TIMEOUT if timeout is None else timeout)
    except ValueError as error:
        raise UsageError(f"{field}: {str(error).removeprefix('environment: ')}") from error
    for text, one in found.items():
        if one.local and elsewhere:
            raise UsageError(
                f"{field}: got {text!r} (registered in this program alone, agents train in "
                f"processes of their own), allowed: MODULE:{text}, whose module registers it"
            )
        if one.note:
            print(f"note: {one.note}", file=sys.stderr)
    return [found[text].facts for text in texts]
