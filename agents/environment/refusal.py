"""What is said of an environment that cannot be used, and what would be allowed instead."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn

import gymnasium
from gymnasium.envs.registration import EnvSpec

from metagenrl.agents.environment.spec import EnvironmentSpec

_MISSING = re.compile(r"missing \d+ required [\w-]+ arguments?: ('\w+'(, | and |, and )?)+")
_IDENTIFIERS = "the id of an installed Gymnasium environment"


def explain(spec: EnvironmentSpec, error: BaseException, known: str) -> str:
    """One line on why an environment could not be made; `known`: its id as it is registered."""
    got = f"environment: got {spec.text!r}, allowed: "
    if spec.id.count(":") > 1:
        return f"{got}{_IDENTIFIERS}, with its module before a single colon"
    module = spec.id.rpartition(":")[0]
    if "/" in module or module.endswith(".py"):
        path = Path(module)
        parts = path.with_suffix("").parts
        name = ".".join(parts) if all(map(str.isidentifier, parts)) else path.stem
        return f"{got}{_IDENTIFIERS}, with its module as `import` names it ({name}), not its file"
    if isinstance(error, TypeError) and (unknown := _unknown_argument(spec, error, known)):
        return got + unknown
    if isinstance(error, TypeError) and (needed := _MISSING.search(str(error))):
        names = ", ".join(f"{name}=..." for name in re.findall(r"'(\w+)'", needed[0]))
        return f"{got}with {names}, which it needs, by --env-kwargs"
    cause = error.__cause__
    if isinstance(cause, ModuleNotFoundError) and cause.name == module.partition(".")[0]:
        return (
            f"{got}{_IDENTIFIERS}, whose module can be imported (there is no {cause.name}.py in "
            "the working directory or in a folder of PYTHONPATH, and no such package is installed)"
        )
    missing = isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled)
    what = "it or a package it needs is not installed" if missing else "it cannot be made"
    nearest = _nearest(spec.id)
    hint = f", for example {nearest}" if nearest and nearest != spec.id else ""
    unknown_name = isinstance(error, gymnasium.error.NameNotFound)
    where = _where(module) if unknown_name else ""
    return f"{got}{_IDENTIFIERS}{hint} ({what}: {in_words(error)}{where})"


def _where(module: str) -> str:
    """The file that was imported for `module`, which is not always the user's of that name."""
    if module not in sys.modules:
        return ""
    file = getattr(sys.modules[module], "__file__", None)
    folders = list(getattr(sys.modules[module], "__path__", ()))
    found = file or (f"the folder {folders[0]}" if folders else "a part of Python")
    place = Path(*module.split("."))
    own = (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())
    hidden = next((path for path in own if file is None or not path.samefile(file)), None)
    hint = f", which hides {hidden} here: rename that" if hidden else ""
    return f" {module} is {found}{hint or ', which does not register it'}."


def in_words(error: BaseException) -> str:
    """The message of an exception, in one line."""
    try:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception:  # its own `__str__`
        return type(error).__name__


def kind_and_words(error: BaseException) -> str:
    """The class of an exception and its message, in one line."""
    kind, words = type(error).__name__, in_words(error)
    return kind if words == kind else f"{kind}: {words}"


def _unknown_argument(spec: EnvironmentSpec, error: TypeError, known: str) -> str | None:
    """The arguments that the environment takes in place of one that it does not."""
    match = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if match is None or match[1] not in spec.arguments:
        return None
    maker: Any = gymnasium.registry[known.rpartition(":")[2]].entry_point
    maker = resolve_name(maker) if isinstance(maker, str) else maker
    every = inspect.signature(maker).parameters.values()
    names = [p.name for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    near = difflib.get_close_matches(match[1], names, n=1)
    hint = f" ({match[1]}: did you mean {near[0]}?)" if near else f" (not {match[1]})"
    return f"the arguments {', '.join(names) or 'none'} of {spec.id}{hint}"


def _nearest(env_id: str) -> str | None:
    """The registered identifier with the most similar name, in its newest version.

    Of an id with a module only what that module registers counts, and the hint keeps the module.
    """
    module, colon, name = env_id.rpartition(":")
    newest: dict[str, EnvSpec] = {}
    for spec in gymnasium.registry.values():
        if colon and not str(_module_of(spec)).startswith(module):
            continue
        known = f"{spec.namespace}/{spec.name}".lower() if spec.namespace else spec.name.lower()
        if known not in newest or (spec.version or 0) > (newest[known].version or 0):
            newest[known] = spec
    wanted = re.sub(r"-v\d+$", "", name).lower()
    names = difflib.get_close_matches(wanted, newest, n=1)
    return f"{module}{colon}{newest[names[0]].id}" if names else None


def _module_of(spec: EnvSpec) -> str:
    if isinstance(spec.entry_point, str):
        return spec.entry_point.partition(":")[0]
    return getattr(spec.entry_point, "__module__", "")


def describe(space: gymnasium.Space[Any]) -> str:
    """A space in one line, of at most 80 characters."""
    text = " ".join(str(space).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def refuse(env_id: str, found: str, allowed: str) -> NoReturn:
    """Raise `ValueError` about the environment `env_id`."""
    raise ValueError(f"environment: got {env_id!r} {found}, allowed: {allowed}")
