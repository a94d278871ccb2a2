"""What is pinned can be installed wherever the package says that it can."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def test_every_pinned_package_takes_the_oldest_python() -> None:
    """A distribution's own Python may be years behind its last patch: Debian 12 has 3.11.2."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    refused = {}
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE):
        try:
            wanted = metadata(name).get("Requires-Python")
        except PackageNotFoundError:  # for another platform
            continue
        if wanted and not SpecifierSet(wanted).contains(oldest):
            refused[name] = wanted
    assert refused == {}
