"""Tables and pictures of a study, from its run folders."""

from __future__ import annotations

import csv
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metagenrl.analysis.confidence import mean_interval
from metagenrl.analysis.learning_curves import read_curves
from metagenrl.analysis.pictures.meta_training import draw_meta_test

if TYPE_CHECKING:
    from evidence import Study

_HEADER = ("environment", "in meta-training", "trained by", "return", "95 % interval", "agents")


def write_report(study: Study, out: Path, results: Path) -> None:
    """Write `results/<name>.md`, `.csv` and `.png`."""
    results.mkdir(exist_ok=True)
    envs = (*study.envs, *study.unseen)
    folders = [p for env in envs for p in sorted((out / env).iterdir()) if p.is_dir()]
    draw_meta_test(folders, results / f"{study.name}.png", study.envs)
    rows = [row for env in envs for row in _rows(env, env in study.envs, out / env)]
    with open(results / f"{study.name}.csv", "w", newline="") as file:
        csv.writer(file).writerows([_HEADER, *rows])
    lines = ["| " + " | ".join(row) + " |" for row in (_HEADER, ["---"] * len(_HEADER), *rows)]
    text = "\n".join([f"# {study.title}", "", *_facts(study), "", *lines, ""])
    (results / f"{study.name}.md").write_text(text)
    print(text)


def _rows(env: str, seen: bool, folder: Path) -> list[list[str]]:
    """Untrained policy, each condition over all its agents, then each meta-training seed."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        groups.setdefault(
            path.name.split("-")[0] if "learned" in path.name else path.name, []
        ).append(path)
    rows, start = [], []
    for name, paths in groups.items():
        curves = read_curves(paths)
        rows.append(_row(env, seen, name, np.concatenate([c.final for c in curves])))
        start += [value for c in curves for value in c.returns[:, 0] if c.steps[0] == 0]
        if len(paths) > 1:
            rows += [_row(env, seen, p.name, read_curves([p])[0].final) for p in paths]
    return [_row(env, seen, "untrained policy", np.array(start)), *rows]


def _row(env: str, seen: bool, name: str, values: np.ndarray) -> list[str]:
    estimate = mean_interval(values)
    low, high = estimate.mean - estimate.half_width, estimate.mean + estimate.half_width
    interval = f"{low:,.1f} … {high:,.1f}"
    return [
        env,
        "seen" if seen else "unseen",
        name,
        f"{estimate.mean:,.1f}",
        interval,
        str(len(values)),
    ]


def _facts(study: Study) -> list[str]:
    command, seeds = " ".join(study.train), ", ".join(map(str, study.meta_seeds))
    facts = {
        "command": f"`python experiments/evidence.py {study.word} OUT`",
        "meta-training": f"`metagenrl train {command}`, seeds {seeds}",
        "tests": f"{study.seeds} new agents a setting, {study.steps:,} steps each; the return is "
        "that of 10 episodes of the deterministic policy at the end",
        "machine": machine(),
        "intervals": "95 %, Student's t over agents; `learned` pools the agents of all "
        "meta-training seeds, `learned-N` is seed N alone",
    }
    return [f"- {name}: {text}" for name, text in facts.items()]


def machine(*packages: str) -> str:
    """Processor and versions, those of `packages` included, on a line."""
    names = ("torch", "gymnasium", "mujoco", "numpy", *packages)
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{_cpu()}, Python {platform.python_version()}, {versions}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return json.dumps(platform.processor())
