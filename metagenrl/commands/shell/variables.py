"""Environment variables whose values a library does not take where it is imported.

Which variable it was, only trying tells: the library is imported again, in another process, without
this one or that. Nothing here imports more than Python's own modules.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType

from metagenrl.base.checks import UsageError

_OURS = frozenset({"HOME", "PATH", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV"})
"""What a process cannot do without."""
_PREFIXES = {
    "torch": ("TORCH", "PYTORCH", "COMPILE_STROBELIGHT"),
    "ray": ("RAY_", "PYTHONOPTIMIZE", "PYTHONWARNINGS"),
}
"""What the names of a library's variables begin with; Python's own where the library minds them."""
_TRIED = {"ray": "ray.dashboard.modules.event.event_head, ray.dashboard.modules.job.job_head"}
"""Of these libraries, the modules that its other processes import first of all."""
_HARMLESS = frozenset(
    {
        "TORCH_HOME",
        "TORCH_EXTENSIONS_DIR",
        "RAY_ADDRESS",
        "RAY_TMPDIR",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
    }
)
"""Of these names, but taken as they are: nothing has to be tried for them."""
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
_TRY_SECONDS = 120.0

_IMPORTED = set[tuple[object, ...]]()
"""Libraries whose imports went well, with their variables of that time."""

Imports = Callable[[Mapping[str, str]], str | None]
"""What an import in a process with these variables ended in, None where it went well."""


def refused_variable(error: BaseException) -> UsageError | None:
    """The variable that ended a library's import in `error`, as one line; None where none did."""
    library = _imported_library(error.__traceback__)
    if library is None:
        return None
    return _culprit(library, partial(_import, library), str(error))


def require_importable(library: str) -> None:
    """Refuse a variable that would end the import of `library` in the command's own processes.

    Nothing is tried unless a variable is set that looks like one of the library's, and nothing
    twice. Raises `UsageError`.
    """
    names = [n for n in os.environ if n.startswith(_PREFIXES[library]) and n not in _HARMLESS]
    tried = (library, *sorted((name, os.environ[name]) for name in names))
    if not names or tried in _IMPORTED:
        return
    refused = _culprit(library, partial(_import, library))
    if refused is not None:
        raise refused
    _IMPORTED.add(tried)


def _imported_library(traceback: TracebackType | None) -> str | None:
    """The first package of others in whose import an exception was raised."""
    folders = tuple({sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib")})
    while traceback is not None:
        frame = traceback.tb_frame
        file = frame.f_code.co_filename
        if frame.f_code.co_name == "<module>" and file.startswith(folders):
            return str(frame.f_globals["__name__"]).partition(".")[0]
        traceback = traceback.tb_next
    return None


def _culprit(library: str, imports: Imports, said: str = "") -> UsageError | None:
    """The variable without which the import goes well. Those that `said` speaks of come first."""
    told = imports(os.environ)
    if told is None:
        return None
    names = [name for name in os.environ if name not in _OURS]
    told_of = [n for n in names if n in said + told or _is_word(os.environ[n], said + told)]
    for name in told_of:
        if imports(_without([name])) is None:
            return _refusal(name, library, told)
    while len(names) > 1:  # some are left out, then some of those
        half = names[: len(names) // 2]
        names = half if imports(_without(half)) is None else names[len(half) :]
    if names and imports(_without(names)) is None:
        return _refusal(names[0], library, told)
    return None


def _is_word(value: str, text: str) -> bool:
    return len(value) > 1 and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _without(names: Sequence[str]) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}


def _refusal(name: str, library: str, told: str) -> UsageError:
    value = "***" if _SECRET.search(name) else repr(os.environ[name])
    return UsageError(f"{name}: got {value}, allowed: what {library} takes ({told}), or nothing")


def _import(library: str, variables: Mapping[str, str]) -> str | None:
    code = f"import {_TRIED.get(library, library)}"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRY_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_TRY_SECONDS:g} s"
    return None if done.returncode == 0 else _reason(done.stderr)


def _reason(errors: str) -> str:
    """What the process said of its end, in a few words."""
    text = errors.rpartition("\n  File ")[2]
    found = re.search(r"^[A-Za-z_][\w.]*(?::|$)(.*)", text, re.MULTILINE | re.DOTALL)
    words = " ".join((found[1] if found else text).split()) or "its import ends the process"
    return words if len(words) <= 120 else f"{words[:117]}..."
