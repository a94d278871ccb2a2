"""The table that `make train` ends with."""

import json
from pathlib import Path

from metagenrl.commands.summary import summary_table


def evaluated(folder: Path, label: str, agents: dict[int, dict[int, float]], env: str) -> Path:
    """A result folder with these returns, by agent and steps."""
    folder.mkdir()
    rows = [
        {"kind": "evaluation", "label": label, "env": env, "seed": seed, "steps": steps,
         "return_mean": value, "returns": [value]}
        for seed, curve in agents.items()
        for steps, value in curve.items()
    ]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "evaluations.jsonl").write_text(text)
    (folder / "config.yaml").write_text("{}")
    return folder


def test_summary_table(tmp_path: Path) -> None:
    """Heights by the trapezoid rule: (0 + 2 x 6 + 6) / 4 and twice that."""
    learned = {0: {0: 0.0, 5: 6.0, 10: 6.0}, 1: {0: 0.0, 5: 12.0, 10: 12.0}}
    runs = [
        evaluated(tmp_path / "a", "learned objective v5", learned, "E-v0"),
        evaluated(tmp_path / "b", "td3", {0: {10: 5.0}, 1: {5: 7.0}}, "F-v0"),
    ]
    lines = summary_table(runs, ["F-v0"]).replace("\N{MINUS SIGN}", "-").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "environment", "in meta-training", "trained by", "steps", "whole curve (95 %)",
        "last third (95 %)", "seeds",
    ]  # fmt: skip
    assert cells[2] == [
        "E-v0", "unseen", "learned objective v5", "10", "6.75 (4.5 … 9)", "9 (6 … 12)", "2"
    ]  # fmt: skip
    assert cells[3][:4] == ["F-v0", "seen", "td3", "10"]
    assert cells[3][-1] == "1 (+1 unfinished)"
    assert "meta-training" not in summary_table(runs)
