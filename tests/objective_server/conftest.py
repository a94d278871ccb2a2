"""Gradients, servers and a small disk to fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from metagenrl.learner.types import AlphaGradient
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.objective_server.server import ObjectiveServer

Gradients = Callable[..., AlphaGradient]
Servers = Callable[..., ObjectiveServer]


@pytest.fixture
def make_gradient() -> Gradients:
    """A gradient message of three values; everything can be overridden."""

    def make(agent: int = 0, values: object = (1.0, 2.0, 3.0), **fields: object) -> AlphaGradient:
        values = np.asarray(values, np.float32)
        message = {"run": "r", "incarnation": 0, "round": 0, "version": 0, "norm": 1.0}
        environment = f"env-{agent % 2}"
        return AlphaGradient(
            agent=agent, gradient=values, **{"environment": environment, **message, **fields}
        )

    return make


@pytest.fixture
def make_server(tmp_path: Path) -> Servers:
    """A server of three parameters (1, 2, 3), learning rate 0.1, on files in `tmp_path`."""

    def make(store: object = None, **config: object) -> ObjectiveServer:
        alpha = np.array([1.0, 2.0, 3.0], np.float32)
        store = FileStore(tmp_path) if store is None else store
        return ObjectiveServer.open("r", alpha, 0.1, store, ServerConfig(**config))

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
