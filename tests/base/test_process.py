"""A settled process reuses the memory of large temporaries."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from metagenrl.base.process import settle
if sys.argv[1] == "settled":
    settle()
w = torch.zeros(2, 350, 350)
def update():
    x = torch.zeros(2, 2000, 350)
    for _ in range(4):
        x = torch.relu(torch.bmm(x, w)) + 1
for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, torch.get_num_threads())
"""


def _faults(mode: str) -> tuple[int, int]:
    command = [sys.executable, "-c", SCRIPT, mode]
    # The default, but fixed: as it comes, glibc's own adjustment now and then finds what suits.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
    faults, threads = run.stdout.split()
    return int(faults), int(threads)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is what is set")
def test_a_settled_process_takes_few_new_pages_for_large_temporaries() -> None:
    faults, threads = _faults("settled")
    assert threads == 1
    assert _faults("as it comes")[0] > 10 * faults, "the control does not show the cost"
