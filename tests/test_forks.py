"""Programs as forks of a process that has imported metagenrl: as new interpreters would be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import forks


def test_words_folder_and_environment_reach_it(tmp_path: Path) -> None:
    code = "import os, sys; print(*sys.argv[1:], os.getcwd(), os.environ['WANDB_NEW'], sep='|')"
    environment = os.environ | {"WANDB_NEW": "x"}
    words = [sys.executable, "-c", f"{code}; print('torch' in sys.modules)", "a b", "--c"]
    done = forks.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == f"a b|--c|{tmp_path}|x\nTrue\n"


def test_a_variable_that_may_have_been_read_begins_a_new_interpreter() -> None:
    words = [sys.executable, "-c", "import sys; print('torch' in sys.modules)"]
    environment = os.environ | {"RAY_NEW": "x"}
    done = forks.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("raise ValueError", 1),
     ("import os; os.kill(os.getpid(), 9)", -9)],
)  # fmt: skip
def test_its_end_is_told(code: str, status: int) -> None:
    done = forks.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert done.returncode == status


def test_signals_reach_it_and_a_group_of_its_own_is_one() -> None:
    words = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
    with forks.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.readline() == b"1\n"
        assert process.poll() is None
        assert os.getpgid(process.pid) == process.pid
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM


def test_a_process_that_nobody_waits_for_disturbs_no_other() -> None:
    left = forks.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert left._line is not None
        left._line.close()  # as where both were collected
        subprocess._active.append(left)
        assert (
            forks.run([sys.executable, "-c", "print('on')"], capture_output=True).stdout == b"on\n"
        )
    finally:
        os.kill(left.pid, signal.SIGKILL)
