"""An environment beside the user, from its module to a picture, and what may be given with it."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "environments.md"
SMALL = (
    "--preset quickstart --hidden-units 8 --batch-size 4 --learning-starts 40 --random-steps 40 "
    "--wandb disabled --engine inprocess --lifetime 0 --anneal-steps 0"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


def metagenrl(folder: Path, line: str, code: int = 0) -> str:
    """Runs the installed command in `folder`; what it said."""
    command = [str(Path(sys.executable).parent / "metagenrl"), *line.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_env.py").write_text(blocks("python")[0])
    return tmp_path


def test_the_page_leads_to_pictures(folder: Path) -> None:
    (config,) = blocks("yaml")
    (folder / "c.yaml").write_text(config)
    own = "--lifetime 60 --agents-per-actor 1 --log-every 60"
    line = f"train {SMALL} {own} --config c.yaml --steps 150 --run-dir run"
    metagenrl(folder, line)
    assert (folder / "run" / "curves.png").stat().st_size > 1000
    stored = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert stored["agents_per_env"] == [4, 2]
    assert stored["agents"] == 6
    wide = 'my_env:Reach-v0(force={"uniform": [0.05, 0.2]})+gymnasium.wrappers:FlattenObservation'
    assert stored["envs"] == [wide, "Pendulum-v1"]
    rows = [json.loads(row) for row in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    drawn = {row["drawn"] for row in rows if row["kind"] == "agent" and "drawn" in row}
    assert len(drawn) >= 8, "four agents with two lives and more"
    test = f"test {SMALL.replace('--engine inprocess --lifetime 0 --anneal-steps 0', '')}"
    said = metagenrl(
        folder,
        f"{test} --objective run --env my_env:Reach --env-kwargs force=0.1 --seeds 1 --steps 60 "
        "--eval-episodes 1 --workers 1 --run-dir tested",
    )
    assert "my_env:Reach-v0(force=0.1), not seen in meta-training" in said
    assert (folder / "tested" / "curves.png").stat().st_size > 1000


def test_a_run_too_short_to_learn_says_so(folder: Path) -> None:
    said = metagenrl(folder, f"train {SMALL} --envs Pendulum --agents 1 --steps 20 --run-dir a")
    assert "note: steps: 20 are too few, learning begins at step 40" in said
    assert yaml.safe_load((folder / "a" / "config.yaml").read_text())["envs"] == ["Pendulum-v1"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--envs my_env:Rech-v0", "for example my_env:Reach-v0"),
        ("--envs my_evn:Reach-v0", "there is no my_evn.py in the working directory or in a folder"),
        ("--envs my_env:Reach-v0 --env-kwargs forse=1", "(forse: did you mean force?)"),
        (
            "--envs my_env:Reach-v0 --env-kwargs force",
            "env_kwargs: got 'force', allowed: key=value",
        ),
        (
            "--envs my_env:Reach-v0 --env-kwargs force=1 force=2",
            "env_kwargs: got 'force=2', allowed: force once",
        ),
        ("--envs my_env:Reach-v0 --env-wrappers no:W", "whose wrapper no:W raises No module named"),
        ("--envs my_env:Reach-v0 --agents 4 --agents-per-env 3", "allowed: numbers that add up"),
        ("--config bad.yaml", "envs: got the key 'kwarg', allowed: id, kwargs, wrappers, did you"),
    ],
)
def test_what_is_misspelt_is_refused(folder: Path, line: str, complaint: str) -> None:
    (folder / "bad.yaml").write_text("envs: [{id: Pendulum-v1, kwarg: {g: 9}}]")
    said = metagenrl(folder, f"train {SMALL} {line} --run-dir a", code=2)
    assert complaint in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (folder / "a").exists()


def test_an_agent_whose_environment_leaves_is_lost_alone(folder: Path) -> None:
    """`os._exit(0)` looks like a success to whoever counts exit codes."""
    text = (folder / "my_env.py").read_text()
    broken = "        self.n = getattr(self, 'n', 0) + 1\n        if self.n > 45:\n"
    broken += "            import os; os._exit(0)\n"
    at = text.index("        self.x = np.clip")
    (folder / "my_env.py").write_text(text[:at] + broken + text[at:])
    said = metagenrl(
        folder,
        "test --preset quickstart --objective random --env my_env:Reach-v0 --seeds 1 --steps 300 "
        "--eval-episodes 1 --eval-every 1000 --workers 1 --run-dir a",
        code=1,
    )
    assert "seed 0: failed: its process ended before the last step" in said


STARTS = """
        import subprocess
        self.one = subprocess.Popen(["sleep", "300"], start_new_session=True)
        open("pids", "a").write(f"{self.one.pid}\\n")
        subprocess.run(["sh", "-c", "sleep 300 > /dev/null 2>&1 & echo $! >> pids"])
"""


def with_processes(folder: Path) -> None:
    """Each reset of the environment starts a process, which nothing of it ends."""
    text = (folder / "my_env.py").read_text()
    at = text.index("        super().reset(")
    (folder / "my_env.py").write_text(text[:at] + STARTS.lstrip("\n") + text[at:])


def gone(folder: Path) -> bool:
    """Whether all of them end within seconds."""
    pids = {int(pid) for pid in (folder / "pids").read_text().split()}
    started = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(started, timeout=20)[1]


@pytest.mark.parametrize(
    "line",
    [
        f"train {SMALL} --envs my_env:Reach-v0 --agents 2 --steps 60",
        f"train {SMALL} --envs my_env:Reach-v0 --agents 2 --steps 60 --env-workers 2",
        "test --preset quickstart --objective random --env my_env:Reach-v0 --seeds 1 --steps 60 "
        "--eval-episodes 1 --workers 1",
    ],
)
def test_what_an_environment_has_started_ends_with_the_run(folder: Path, line: str) -> None:
    with_processes(folder)
    metagenrl(folder, f"{line} --run-dir a")
    assert gone(folder)


def test_what_an_environment_has_started_ends_with_a_run_that_a_signal_ends(folder: Path) -> None:
    with_processes(folder)
    line = "test --preset quickstart --objective random --env my_env:Reach-v0 --seeds 1 --workers 1"
    command = [str(Path(sys.executable).parent / "metagenrl"), *line.split(), "--run-dir", "a"]
    process = subprocess.Popen([*command, "--steps", "100000"], cwd=folder, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not any(file.stat().st_size for file in folder.glob("a/seeds/*.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert gone(folder)
