from __future__ import annotations

import pkgutil
import subprocess
import sys

from metagenrl import objective_server


def test_the_server_needs_neither_ray_nor_torch() -> None:
    """A process that only serves alpha starts without seconds and megabytes of imports."""
    package = objective_server
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    assert "server" in names
    script = (
        f"import importlib, sys; [importlib.import_module({package.__name__!r} + '.' + name) "
        f"for name in {names}]; "
        "print([m for m in ('ray', 'wandb', 'torch', 'metagenrl.agents') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_neither_does_its_actor_need_torch() -> None:
    modules = (
        "import metagenrl.cluster.engines.server_actor, metagenrl.objective_server.store.open, sys"
    )
    script = f"{modules}; print([m for m in ('torch', 'metagenrl.agents') if m in sys.modules])"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
