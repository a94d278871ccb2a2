"""MetaGenRL, distributed: meta-learn a reinforcement-learning objective with a population.

    import metagenrl

    objective = metagenrl.load_objective("runs/mine")  # or "pretrained", or a snapshot file
    loss = objective.loss(batch, policy, critic)       # any torch policy and critic
    loss.backward()

`train`, `test`, `baseline` and `command` are the commands of the same name, `read_run` reads what
they wrote. The import takes milliseconds: each name loads what it needs at its first use.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metagenrl.agents.experience.replay import ReplayBuffer
    from metagenrl.api.calls import CommandFailed, baseline, command, test, train
    from metagenrl.api.objective import Objective, load_objective, random_objective
    from metagenrl.api.runs import Run, read_run
    from metagenrl.base.checks import UsageError
    from metagenrl.base.release import RELEASE as __version__  # noqa: N811
    from metagenrl.learner.types import Batch

# From a checkout's root this folder hides an ordinary installation of the other packages.
__path__ = extend_path(__path__, __name__)

__all__ = [
    "Batch",
    "CommandFailed",
    "Objective",
    "ReplayBuffer",
    "Run",
    "UsageError",
    "__version__",
    "baseline",
    "command",
    "load_objective",
    "random_objective",
    "read_run",
    "test",
    "train",
]

_HOMES = {
    "Batch": "metagenrl.learner.types",
    "CommandFailed": "metagenrl.api.calls",
    "Objective": "metagenrl.api.objective",
    "ReplayBuffer": "metagenrl.agents.experience.replay",
    "Run": "metagenrl.api.runs",
    "UsageError": "metagenrl.base.checks",
    "baseline": "metagenrl.api.calls",
    "command": "metagenrl.api.calls",
    "load_objective": "metagenrl.api.objective",
    "random_objective": "metagenrl.api.objective",
    "read_run": "metagenrl.api.runs",
    "test": "metagenrl.api.calls",
    "train": "metagenrl.api.calls",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module at its first use (PEP 562)."""
    if name == "__version__":
        return import_module("metagenrl.base.release").RELEASE
    if name not in _HOMES:
        raise AttributeError(f"module 'metagenrl' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
