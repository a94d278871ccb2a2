"""W&B's own environment variables, looked at before a run begins."""

from __future__ import annotations

import os

from metagenrl.base.checks import UsageError

_SECRET = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
_PREFIX = "WANDB_"


def check_variables() -> None:
    """Refuse the first variable whose value wandb does not take.

    wandb itself says so only once the run goes on, which then is not logged. Raises `UsageError`.
    """
    given = {n: v for n, v in os.environ.items() if n.startswith(_PREFIX) and n not in _SECRET}
    if not given:
        return
    from wandb import Settings  # takes half a second

    for name, value in sorted(given.items()):
        try:
            Settings().update_from_env_vars({name: value})
        except Exception as error:  # pydantic's, and wandb's own
            raise UsageError(f"{name}: got {value!r}, allowed: {_allowed(error)}") from error


def switched_off() -> bool:
    """Whether W&B's own switch is off, whatever --wandb says."""
    return os.environ.get("WANDB_MODE") == "disabled"


def _allowed(error: Exception) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return f"what wandb takes ({error})"
    first = details()[0]
    expected = first.get("ctx", {}).get("expected")
    return str(expected).replace("'", "") if expected else f"what wandb takes ({first['msg']})"
