"""Tests of the C forms are skipped without them; this one tells whether they may be missing."""

import os
import shutil

import pytest

from metagenrl.learner.native import library

NO_COMPILER = not any(map(shutil.which, ("cc", "gcc", "clang")))


@pytest.mark.skipif(NO_COMPILER, reason="no C compiler")
@pytest.mark.skipif("METAGENRL_KERNELS" in os.environ, reason="the kernels are chosen by hand")
def test_where_there_is_a_compiler_the_library_was_built() -> None:
    assert library.backend() != "torch"
