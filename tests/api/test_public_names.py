"""`import metagenrl`: every public name, and how light the import is."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metagenrl


def test_every_public_name_is_there() -> None:
    assert set(metagenrl.__all__) <= set(dir(metagenrl))
    assert [name for name in metagenrl.__all__ if getattr(metagenrl, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metagenrl.nothing  # type: ignore[attr-defined]


def test_what_the_page_documents_can_be_imported() -> None:
    """`docs/api.md` says what `import metagenrl` gives."""
    page = (Path(__file__).parents[2] / "docs/api.md").read_text()
    paths = re.findall(r"^::: (\S+)\.(\w+)$", page, re.MULTILINE)
    assert {name for _, name in paths} == set(metagenrl.__all__) - {"__version__"}
    for module, name in paths:
        assert getattr(metagenrl, name) is getattr(importlib.import_module(module), name)


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
