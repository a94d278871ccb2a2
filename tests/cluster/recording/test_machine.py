"""What a run takes from the machine, where the machine does not answer."""

import psutil
import pytest

from metagenrl.cluster.recording.machine import SystemMeter
from metagenrl.runs.rows import Moment


def test_processes_that_cannot_be_listed_end_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def children(self: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        raise psutil.NoSuchProcess(self.pid, msg="its PID has been reused")

    monkeypatch.setattr(psutil.Process, "children", children)
    row = SystemMeter().row(Moment(1.0, 1, 1), 10, None, [0], 0)
    assert (row.processes, row.rss) == (1, row.rss_driver)
