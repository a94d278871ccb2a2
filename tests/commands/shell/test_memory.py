"""A process that gets no memory says so in one line."""

import subprocess
import sys

import pytest

from metagenrl.commands.shell.troubles import no_memory


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_limit_that_torch_does_not_fit_in_is_one_line(tmp_path: object) -> None:
    words = f"{sys.executable} -m metagenrl.commands.main test --objective pretrained"
    line = f"ulimit -v 400000; exec {words} --env Pendulum-v1 --run-dir {tmp_path}/run"
    ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: memory: ")
    assert ended.stderr.endswith(", allowed: more of it, or a higher limit (ulimit -a)\n")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), True),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_only_what_is_about_memory_is_said_so(error: Exception, told: bool) -> None:
    assert (no_memory(error) is not None) is told
