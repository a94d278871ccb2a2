"""What a meta-training run and its meta-tests came to: a table and one picture.

python -m metagenrl.commands.summary RUN TEST_FOLDER...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from metagenrl.analysis.learning_curves import summary_table
from metagenrl.analysis.pictures.meta_training import draw_summary
from metagenrl.runs.config.yaml import from_yaml
from metagenrl.runs.names import CONFIG_FILE, CURVES_FILE


def summarize(run_dir: Path, tests: Sequence[Path]) -> str:
    """Draw `run_dir/curves.png` from the run and its tests; the table to print.

    Raises `ValueError` where a folder holds no run or no evaluations.
    """
    envs = from_yaml(run_dir / CONFIG_FILE).envs
    picture = draw_summary(run_dir, tests, run_dir / CURVES_FILE)
    return f"{summary_table(tests, envs)}\n\npicture: {picture}"


def main() -> None:
    """Print the summary of the folders on the command line; exit code 2 for bad ones."""
    folders = [Path(word) for word in sys.argv[1:]]
    try:
        if len(folders) < 2:
            raise ValueError("folders: got too few, allowed: a run and at least one test")
        print(summarize(folders[0], folders[1:]))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
