"""The four folders and what setuptools is told about them stay the same thing."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("learner", "agents", "objective_server", "cluster")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def package_folders() -> list[Path]:
    """Every folder, nested ones included, that Python would import as a package."""
    return sorted(init.parent for name in FOLDERS for init in (ROOT / name).rglob("__init__.py"))


def dotted(folder: Path) -> str:
    return ".".join(("metagenrl", *folder.relative_to(ROOT).parts))


def test_every_package_folder_is_listed_and_mapped() -> None:
    assert sorted(SETTINGS["packages"]) == sorted(dotted(folder) for folder in package_folders())
    for name in FOLDERS:
        assert SETTINGS["package-dir"][f"metagenrl.{name}"] == name


def test_every_python_file_lies_in_a_package() -> None:
    packages = set(package_folders())
    stray = [p for name in FOLDERS for p in (ROOT / name).rglob("*.py") if p.parent not in packages]
    assert stray == []


def test_every_package_is_typed() -> None:
    missing = [dotted(f) for f in package_folders() if not (f / "py.typed").is_file()]
    assert missing == []


def test_the_wheel_holds_every_module_and_marker(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-c", "from setuptools import build_meta as b; b.build_wheel('dist')"],
        cwd=source,
        env=os.environ | {"CC": "false"},  # the extension is optional and takes a while
        check=True,
        capture_output=True,
    )
    (wheel,) = (source / "dist").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"metagenrl/{path.relative_to(ROOT).as_posix()}"
        for name in FOLDERS
        for path in (ROOT / name).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    assert expected <= inside
    top_level = {name.split("/")[0] for name in inside if ".dist-info" not in name}
    assert top_level == {"metagenrl"}
