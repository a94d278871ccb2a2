"""Imports run one way, and what must not be imported below `cluster` is not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("learner", "agents", "objective_server", "cluster")
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the contracts of pyproject.toml on a copy of the packages, with `extra` lines added.

    Keys of `extra` are modules below `metagenrl`; import-linter puts the working folder first on
    the path.
    """
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / name, folder / "metagenrl" / name, ignore=ignored)
    shutil.copytree(ROOT / "metagenrl", folder / "metagenrl", ignore=ignored, dirs_exist_ok=True)
    for module, line in extra.items():
        path = folder / "metagenrl" / f"{module.replace('.', '/')}.py"
        path.write_text((path.read_text() if path.exists() else "") + line + "\n")
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_contracts_are_kept(tmp_path: Path) -> None:
    result = lint(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "Contracts: 6 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("learner.bad", "import metagenrl.agents", "metagenrl.learner.bad -> metagenrl.agents"),
        (
            "agents.bad",
            "import metagenrl.objective_server",
            "metagenrl.agents.bad -> metagenrl.objective_server",
        ),
        (
            "objective_server.bad",
            "import metagenrl.runs.folder",
            "metagenrl.objective_server.bad -> metagenrl.runs.folder",
        ),
        (
            "analysis.report.bad",
            "import metagenrl.commands.main",
            "metagenrl.analysis.report.bad -> metagenrl.commands.main",
        ),
        ("agents.bad", "import ray.rllib", "metagenrl.agents.bad -> ray"),
        ("tracking.bad", "import ray", "metagenrl.tracking.bad -> ray"),
        (
            "learner.critic",
            "import metagenrl.learner.native.updates",
            "metagenrl.learner.critic -> metagenrl.learner.native.updates",
        ),
        ("learner.bad", "import gymnasium", "metagenrl.learner.bad -> gymnasium"),
        ("cluster.bad", "import wandb", "metagenrl.cluster.bad -> wandb"),
        ("runs.metrics_file", "import wandb", "metagenrl.runs.metrics_file -> wandb"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, module: str, line: str, complaint: str) -> None:
    result = lint(tmp_path, **{module: line})
    assert result.returncode == 1
    assert complaint in " ".join(result.stdout.split())
