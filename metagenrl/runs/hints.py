"""What users are told to type."""

from __future__ import annotations

import shlex
from pathlib import Path


def resume_command(run_dir: Path | str) -> str:
    """To go on with a run that has ended."""
    return f"metagenrl train --resume {shlex.quote(str(run_dir))}"
