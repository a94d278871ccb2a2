"""Finds the packages, and builds the optional C kernels (without a compiler plain torch runs)."""

import runpy
from pathlib import Path

from setuptools import Extension, find_packages, setup

# These folders lie beside `metagenrl/` in the checkout and are installed inside of it.
FOLDERS = ("agents", "cluster", "learner", "objective_server")
SOURCES = Path("learner/native/src")
DIGEST = runpy.run_path("learner/native/built.py")["digest"](SOURCES)

KERNELS = Extension(
    "metagenrl.learner.native._native",
    sources=sorted(map(str, SOURCES.glob("*.c"))),
    depends=sorted(map(str, SOURCES.glob("*.h"))),
    define_macros=[("SOURCES", f'"{DIGEST}"')],
    extra_compile_args=[
        "-O3",
        "-std=gnu11",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-signed-zeros",
        "-fassociative-math",
        "-ffp-contract=fast",
        "-Wno-psabi",
    ],
    libraries=["m"],
    optional=True,
)


def packages() -> list[str]:
    """Every folder with an `__init__.py`, by the name that users import."""
    beside = [name for folder in FOLDERS for name in find_packages(include=[folder, f"{folder}.*"])]
    inside = find_packages(include=["metagenrl", "metagenrl.*"])
    return [*inside, *(f"metagenrl.{name}" for name in beside)]


setup(
    packages=packages(),
    package_dir={f"metagenrl.{folder}": folder for folder in FOLDERS},
    ext_modules=[KERNELS],
)
