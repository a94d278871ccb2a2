"""A picture or a policy that cannot be written is told, and costs nothing else."""

import resource
import subprocess
import sys
from pathlib import Path

WORDS = (
    "--objective random --env Pendulum-v1 --preset quickstart --steps 20 --eval-every 20 "
    "--eval-episodes 1 --seeds 1 --hidden-units 64 --wandb disabled"
)


def test_what_exceeds_the_size_of_files_is_told(tmp_path: Path) -> None:
    main = [sys.executable, "-m", "metagenrl.commands.main", "test", *WORDS.split()]
    ended = subprocess.run(
        [*main, "--run-dir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )
    assert "seed 0: done" in ended.stdout
    assert "seed 0: its policy could not be written\n" in ended.stdout
    assert "curves.png could not be drawn (see run.log)\n" in ended.stdout
    assert ended.returncode == 0
    assert (tmp_path / "run" / "evaluations.jsonl").stat().st_size > 0
    assert not list((tmp_path / "run").glob("**/*.safetensors"))
