"""Soak: a population trains for half an hour; memory and object store must stay flat.

    python experiments/soak.py --minutes 30 --out results/soak

Every process of the run is sampled every few seconds (USS, the memory that is its own: what it
shares with others on the machine comes and goes with them), and so is Ray's object store. The first
third is warm-up, in which replay buffers fill; after it, a line is fitted to each kind of process,
and what it rises by until the end must stay below 5 % of its mean or 8 MiB, whichever is more. Exit
code 1 where it does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
import psutil
import ray
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster

from metagenrl.runs.metrics_file import read_metrics

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MIB = 2**20
KINDS = ("driver", "agents", "objective server", "object store")
FLAGS = (
    "--preset quickstart --agents 4 --agent-cpus 0.25 --envs Pendulum-v1 --replay-capacity 1000 "
    "--lifetime 1000 --wandb disabled --checkpoint-every 500 --steps 100000000"
)


@dataclass(frozen=True)
class Trend:
    """How one kind of memory developed after the warm-up."""

    kind: str
    mean_mib: float
    rise_mib: float  # of the fitted line, from the warm-up's end to the end
    flat: bool


def sample(driver: int, raylet: int) -> list[float]:
    """MiB by kind, in the order of `KINDS`."""
    found = dict.fromkeys(KINDS, 0.0)
    found["driver"] = _own(psutil.Process(driver))
    for process in psutil.Process(raylet).children():
        try:
            name = " ".join(process.cmdline())
            if "ray::CohortActor" in name:
                found["agents"] += _own(process)
            elif "ray::ServerActor" in name:
                found["objective server"] += _own(process)
        except psutil.NoSuchProcess:
            continue
    node = ray.nodes()[0]
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"])
    found["object store"] = stats.store_stats.object_store_bytes_used / MIB
    return list(found.values())


def _own(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / MIB


def trends(seconds: np.ndarray, memory: np.ndarray) -> list[Trend]:
    """`memory` [samples, kinds] in MiB over `seconds` [samples], judged after the warm-up."""
    late = seconds >= seconds[-1] / 3
    found = []
    for kind, values in zip(KINDS, memory[late].T, strict=True):
        slope = np.polyfit(seconds[late], values, 1)[0]
        rise = float(slope * (seconds[-1] - seconds[late][0]))
        mean = float(values.mean())
        found.append(Trend(kind, round(mean, 1), round(rise, 2), rise < max(8.0, 0.05 * mean)))
    return found


def soak(folder: Path, seconds: float, every: float) -> tuple[np.ndarray, np.ndarray]:
    """Train for so long; times [samples] and MiB [samples, kinds]."""
    os.environ["RAY_TMPDIR"] = str(folder)  # other runs on this machine do not join
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    code = "from metagenrl.commands.main import main; main()"
    argv = [sys.executable, "-c", code, "train", *FLAGS.split(), "--run-dir", str(folder / "run")]
    environment = os.environ | {"RAY_ADDRESS": str(cluster.address)}
    with open(folder / "run.log", "wb") as log:
        driver = subprocess.Popen(argv, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not read_metrics(folder / "run").objective:
                if driver.poll() is not None:
                    raise RuntimeError(f"the run did not begin, see {folder / 'run.log'}")
                time.sleep(1.0)
            raylet = cluster.head_node.all_processes["raylet"][0].process.pid
            return _sampled(driver.pid, int(raylet), seconds, every)
        finally:
            driver.kill()
            driver.wait()
            ray.shutdown()  # a cluster does not end while somebody here is connected
            cluster.shutdown()


def _sampled(driver: int, raylet: int, seconds: float, every: float) -> tuple[np.ndarray, ...]:
    began, times, rows = time.monotonic(), [], []
    while not times or times[-1] < seconds:
        times.append(time.monotonic() - began)
        rows.append(sample(driver, raylet))
        time.sleep(every)
    return np.array(times), np.array(rows)


def draw(path: Path, seconds: np.ndarray, memory: np.ndarray, found: Sequence[Trend]) -> None:
    """One panel a kind, the fitted part in bold."""
    figure, panels = plt.subplots(len(KINDS), 1, figsize=(8, 8), sharex=True, layout="constrained")
    minutes, late = seconds / 60, seconds >= seconds[-1] / 3
    for panel, trend, values in zip(panels, found, memory.T, strict=True):
        panel.plot(minutes, values, color="0.7")
        panel.plot(minutes[late], values[late], color="C0")
        panel.set_title(f"{trend.kind}: {trend.rise_mib:+.1f} MiB", loc="left", fontsize=10)
        panel.set_ylabel("MiB")
        panel.set_ylim(0, max(1.0, float(values.max()) * 1.15))
    panels[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json, OUT.png")
    options = parser.parse_args(argv)
    if options.minutes <= 0 or options.every <= 0:
        parser.error(f"minutes, every: got {options.minutes}, {options.every}, allowed: above 0")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        seconds, memory = soak(Path(folder), options.minutes * 60, options.every)
        versions = read_metrics(Path(folder) / "run").objective[-1].version
    found = trends(seconds, memory)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw(options.out.with_suffix(".png"), seconds, memory, found)
    body = {
        "seconds": round(float(seconds[-1])),
        "samples": len(seconds),
        "versions": versions,
        "trends": [asdict(trend) for trend in found],
    }
    options.out.with_suffix(".json").write_text(json.dumps(body, indent=2) + "\n")
    for trend in found:
        verdict = "flat" if trend.flat else "RISES"
        print(f"{trend.kind:<18}{trend.mean_mib:>9.1f} MiB {trend.rise_mib:>+8.2f}  {verdict}")
    return 0 if all(trend.flat for trend in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
