"""The library of C kernels as it was built; needs nothing but the standard library."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.machinery
from pathlib import Path

FOLDER = Path(__file__).parent


class StaleLibraryError(ImportError):
    """The library was built from other sources than those that lie beside it."""


def digest(sources: Path) -> str:
    """A digest of the names and contents of the C files in a folder, 16 characters."""
    found = hashlib.sha256()
    for path in sorted(sources.glob("*.[ch]")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def open_library(folder: Path = FOLDER) -> ctypes.CDLL | None:
    """The library in `folder`, None where it was not built.

    Raises `StaleLibraryError` where it is not of `src`: its functions and those that Python calls
    would disagree about what lies where. An installed package has no sources, nothing to compare.
    """
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = folder / f"_native{suffix}"
        if path.exists():
            library = ctypes.CDLL(str(path))
            sources = folder / "src"
            if sources.is_dir() and _built_from(library) != digest(sources):
                raise StaleLibraryError(
                    f"{path.name}: got a library that is not of these sources, allowed: one built "
                    "again, by `python -m pip install -e .` (or METAGENRL_KERNELS=torch)"
                )
            return library
    return None


def _built_from(library: ctypes.CDLL) -> str:
    try:
        function = library.metagenrl_sources
    except AttributeError:  # built before there was this check
        return ""
    function.restype = ctypes.c_char_p
    return str(function().decode())
