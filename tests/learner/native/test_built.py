"""A library of C kernels that is not of the sources beside it is refused before it is called."""

import shutil
from pathlib import Path

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.commands import refusals
from metagenrl.learner.native import built, library

pytestmark = pytest.mark.skipif(
    library.backend() == "torch" or not (built.FOLDER / "src").is_dir(),
    reason="needs the C kernels and their sources",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The library with its sources."""
    (found,) = built.FOLDER.glob("_native*.so")
    shutil.copy(found, tmp_path)
    shutil.copytree(built.FOLDER / "src", tmp_path / "src")
    return tmp_path


def test_the_library_of_these_sources_is_opened(folder: Path) -> None:
    assert built.open_library(folder) is not None


def test_another_text_another_name_or_one_file_more_is_another_source(folder: Path) -> None:
    whole = built.digest(folder / "src")
    (folder / "src" / "more.h").write_text("")
    more = built.digest(folder / "src")
    (folder / "src" / "more.h").rename(folder / "src" / "other.h")
    assert len({whole, more, built.digest(folder / "src")}) == 3


def test_a_library_of_other_sources_is_refused_in_one_line(folder: Path) -> None:
    with (folder / "src" / "mlp.h").open("a") as file:
        file.write("/* changed */\n")
    with pytest.raises(built.StaleLibraryError, match=r"^_native\S+: got .*, allowed: .*$") as told:
        built.open_library(folder)
    assert "\n" not in str(told.value)


def test_without_sources_or_without_library_there_is_nothing_to_refuse(folder: Path) -> None:
    shutil.rmtree(folder / "src")
    assert built.open_library(folder) is not None
    assert built.open_library(folder / "none") is None


def test_commands_refuse_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(refusals.KERNELS_VARIABLE, raising=False)
    (folder / "src" / "more.h").write_text("")
    opened = built.open_library
    monkeypatch.setattr(refusals, "open_library", lambda: opened(folder))
    with pytest.raises(UsageError, match="allowed: one built again"):
        refusals.check_kernels()
    monkeypatch.setenv(refusals.KERNELS_VARIABLE, "torch")
    refusals.check_kernels()
