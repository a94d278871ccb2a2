"""Memory of a machine and of the control group that a container is."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from metagenrl.base import memory
from metagenrl.base.memory import memory_here


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of this process's control group."""
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "Path", lambda text: _Cgroup())
    (tmp_path / "pod" / "container").mkdir(parents=True)
    return tmp_path


class _Cgroup:
    def read_text(self) -> str:
        return "0::/pod/container\n"


def limit(folder: Path, most: str, used: int, cache: int = 0) -> None:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")


def test_without_a_limit_it_is_the_machines(groups: Path) -> None:
    limit(groups / "pod" / "container", "max", 0)
    assert memory_here().total == psutil.virtual_memory().total


def test_the_lowest_limit_counts_also_of_a_group_above(groups: Path) -> None:
    limit(groups / "pod" / "container", str(1 << 30), 1000)
    limit(groups / "pod", str(1 << 29), 1 << 28, cache=1 << 20)
    found = memory_here()
    assert found.total == 1 << 29
    assert found.available == (1 << 29) - (1 << 28) + (1 << 20)
