"""The folders, what setuptools finds in them, and how their imports run stay in order."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("metagenrl", "learner", "agents", "objective_server", "cluster")
BUILD = "from setuptools import build_meta as b; b.build_wheel('dist'); b.build_sdist('dist')"
MOST_MODULES = 14
"""In one folder, `__init__.py` not counted."""


def package_folders() -> list[Path]:
    """Every folder, nested ones included, that Python would import as a package."""
    return sorted(init.parent for name in FOLDERS for init in (ROOT / name).rglob("__init__.py"))


def modules() -> dict[str, Path]:
    """Every product module by the name that it is imported by."""
    found = {}
    for folder in package_folders():
        for file in folder.glob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            parts = parts if parts[0] == "metagenrl" else ("metagenrl", *parts)
            found[".".join(p for p in parts if p != "__init__")] = file
    return found


def test_every_python_file_lies_in_a_package() -> None:
    packages = set(package_folders())
    stray = [p for name in FOLDERS for p in (ROOT / name).rglob("*.py") if p.parent not in packages]
    assert stray == []


def test_every_top_level_package_is_typed_and_says_what_it_is() -> None:
    assert [name for name in FOLDERS if not (ROOT / name / "py.typed").is_file()] == []
    silent = [f for f in package_folders() if not ast.get_docstring(parsed(f / "__init__.py"))]
    assert silent == []


def test_no_folder_is_a_drawer() -> None:
    full = {f: len(list(f.glob("*.py"))) - 1 for f in package_folders()}
    assert {str(f): count for f, count in full.items() if count > MOST_MODULES} == {}


def test_a_module_that_a_sentence_names_is_there() -> None:
    files = modules().values()
    known = {file.name for file in files} | {"default_worker.py", "my_env.py"}  # Ray's, a user's
    named = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in re.findall(r"`([a-z_/]+\.py)`", file.read_text())
        if name.rpartition("/")[2] not in known
    ]
    assert named == []


def test_no_import_circle() -> None:
    """Imports for type checkers alone count, too: a reader follows them as well."""
    names = modules()
    graph = {name: set(imported(name, file, names)) for name, file in names.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(name: str, file: Path, names: dict[str, Path]) -> Iterator[str]:
    """Product modules that a module imports, at its top or in a function."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = whole if whole in names else node.module
                if target in names and target != name:
                    yield target
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)


def test_the_wheel_holds_every_module_and_marker(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    objective = [f"metagenrl/pretrained/any.{end}" for end in ("safetensors", "md", "yaml")]
    for name in objective:
        (source / name).touch()
    subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=source,
        env=os.environ | {"CC": "false"},  # the extension is optional and takes a while
        check=True,
        capture_output=True,
    )
    (wheel,) = (source / "dist").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = (p for name in FOLDERS for p in (ROOT / name).rglob("*"))
    expected = {
        installed(path) for path in files if path.suffix == ".py" or path.name == "py.typed"
    }
    assert expected <= inside
    assert set(objective) <= inside
    (sdist,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert set(objective) <= packed
    assert {name for name in inside if name.endswith(".j2")}  # data files, too
    top_level = {name.split("/")[0] for name in inside if ".dist-info" not in name}
    assert top_level == {"metagenrl"}


def installed(path: Path) -> str:
    """Where an installation has a file of the checkout."""
    inside = path.relative_to(ROOT).as_posix()
    return inside if inside.startswith("metagenrl/") else f"metagenrl/{inside}"
