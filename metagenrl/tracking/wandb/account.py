"""What can be told of a run at Weights & Biases without importing wandb."""

from __future__ import annotations

import hashlib
import netrc
import os
import re
from urllib.parse import urlsplit

_DEFAULT_SERVER = "https://api.wandb.ai"


def wandb_id(run_id: str) -> str:
    """The id of our run at W&B: the same for the same run, different for another one."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[:40]
    return f"{readable}-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


def has_api_key() -> bool:
    """Whether W&B would find credentials without asking for them, which could wait for ever."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _DEFAULT_SERVER)).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
