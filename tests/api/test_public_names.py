"""`import metagenrl`: every public name, and how light the import is."""

import doctest
import importlib
import subprocess
import sys

import pytest

import metagenrl


def test_every_public_name_is_there() -> None:
    assert set(metagenrl.__all__) <= set(dir(metagenrl))
    assert [name for name in metagenrl.__all__ if getattr(metagenrl, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metagenrl.nothing  # type: ignore[attr-defined]


def test_the_import_loads_nothing_heavy() -> None:
    code = "import metagenrl, sys; metagenrl.__version__; print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not any(f"'{name}'" in found.stdout for name in ("torch", "numpy", "ray", "gymnasium"))


@pytest.mark.parametrize("module", ["objective", "runs", "calls"])
def test_docstrings_run(module: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(importlib.import_module(f"metagenrl.api.{module}"), optionflags=flags)
    assert found.attempted > 0
    assert found.failed == 0
