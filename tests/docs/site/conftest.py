"""The site's modules: they are found by their file, as MkDocs finds them."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

SITE = Path(__file__).resolve().parents[3] / "docs" / "site"


@pytest.fixture
def site_module(monkeypatch: pytest.MonkeyPatch):
    """What imports a module of docs/site for one test."""
    monkeypatch.syspath_prepend(str(SITE))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return import_module(name)

    yield load
    for name in ("links", "pages", "commands", "doctests"):
        if name not in before:
            sys.modules.pop(name, None)
