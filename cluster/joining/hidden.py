"""Files beside the user that Ray's workers would import in the place of installed packages."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from metagenrl.base.checks import UsageError


def refuse_hidden_packages(folders: Sequence[str]) -> None:
    """Refuse a torch.py in `folders`, where this process has the package of that name.

    Ray puts a driver's working directory before its workers' packages; a driver has it behind them.
    What this process itself took from there is meant. Raises `UsageError`.
    """
    for folder in folders:
        names = {name: Path(folder, f"{name}.py") for name in _packages()}
        names |= {n: f if f.exists() else Path(folder, n, "__init__.py") for n, f in names.items()}
        for name, file in names.items():
            if file.is_file():
                raise UsageError(
                    f"working directory: got {str(file)!r} (it hides the package {name} from Ray's "
                    "workers), allowed: a file of another name there, or --engine inprocess"
                )


def _packages() -> list[str]:
    """Top-level modules that this process has imported from where packages are installed."""
    places = tuple({sysconfig.get_path(name) + "/" for name in ("purelib", "platlib")})
    modules = [(n, str(getattr(m, "__file__", ""))) for n, m in list(sys.modules.items())]
    return sorted(
        name
        for name, file in modules
        if "." not in name and file.startswith(places) and name != "metagenrl"  # from a checkout
    )
