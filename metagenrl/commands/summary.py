"""What a meta-training run and its meta-tests came to: a table and one picture.

python -m metagenrl.commands.summary RUN TEST_FOLDER...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from metagenrl.analysis.confidence import interval_text, iqm_with_interval
from metagenrl.analysis.learning_curves import Curves, read_curves
from metagenrl.analysis.number_text import markdown_table
from metagenrl.analysis.pictures.meta_training import draw_summary
from metagenrl.analysis.protocol.numbers import area_under_curve, late_mean
from metagenrl.runs.config.yaml import from_yaml
from metagenrl.runs.names import CONFIG_FILE, CURVES_FILE


def summary_table(test_runs: Sequence[Path], training_envs: Collection[str] | None = None) -> str:
    """A Markdown table: environment, rule, two numbers of the agents' curves, seeds.

    The numbers are the mean height of the learning curve and the mean of its last third: the
    interquartile mean over agents with a 95 % bootstrap interval. Where the environments of
    meta-training are given, each environment is marked as seen or unseen. Agents that did not reach
    the last evaluation are counted apart and not averaged.
    """
    header = ["environment", "trained by", "steps"]
    header += ["whole curve (95 %)", "last third (95 %)", "seeds"]
    if training_envs is not None:
        header.insert(1, "in meta-training")
    rows = []
    curves = read_curves(test_runs)
    for env in dict.fromkeys(curve.env for curve in curves):
        for curve in (curve for curve in curves if curve.env == env):
            numbers = [_number(curve, number) for number in (area_under_curve, late_mean)]
            cells = [env, curve.label, f"{curve.steps[-1]:,.0f}", *numbers, _seeds(curve)]
            if training_envs is not None:
                cells.insert(1, "seen" if env in training_envs else "unseen")
            rows.append(cells)
    return markdown_table(header, rows)


def _number(curve: Curves, number: Callable[[Curves], np.ndarray]) -> str:
    values = number(curve)
    values = values[np.isfinite(values)]
    return interval_text(iqm_with_interval(values)) if len(values) else "-"


def _seeds(curve: Curves) -> str:
    suffix = f" (+{curve.unfinished} unfinished)" if curve.unfinished else ""
    return f"{len(curve.final)}{suffix}"


def summarize(run_dir: Path, tests: Sequence[Path]) -> str:
    """Draw `run_dir/curves.png` from the run and its tests; the table to print.

    Raises `ValueError` where a folder holds no run or no evaluations.
    """
    envs = [str(env) for env in from_yaml(run_dir / CONFIG_FILE).envs]
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
