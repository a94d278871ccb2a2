"""How long a population takes to come up, and its memory, by forked and by spawned workers.

    python -m benchmarks.startup --agents 40 --sizes small paper --turns 3

prints one JSON line for each population, which gets a process and a Ray of its own, and then for
each size and way the medians: seconds until Ray is up, from there until all agents are ready, CPU
seconds of all processes until then, and proportional set size by role.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass

import tyro

from benchmarks.population import PopulationOptions, PopulationResult, in_own_process
from benchmarks.problem import SizeName
from metagenrl.runs.config.train import WorkerStart


@dataclass(frozen=True)
class StartupOptions:
    """What is started."""

    agents: int = 40
    """Agents, an actor each."""
    sizes: tuple[SizeName, ...] = ("small", "paper")
    """Presets whose sizes are taken."""
    ways: tuple[WorkerStart, ...] = ("fork", "spawn")
    """How Ray's workers begin; the ways take turns."""
    turns: int = 3
    """Populations of each size and way."""


def measure_startup(options: StartupOptions) -> list[tuple[PopulationOptions, PopulationResult]]:
    """Start every population in a process of its own, and print what each took."""
    found = []
    for size in options.sizes:
        for turn in range(options.turns * len(options.ways)):
            way = options.ways[turn % len(options.ways)]
            population = PopulationOptions(options.agents, 1, size, pairs=0, worker_start=way)
            result = in_own_process(population)
            kept = ("ray_up_s", "ready_s", "start_cpu_s", "pss_gb", "pss_gb_of")
            line = {name: value for name, value in asdict(result).items() if name in kept}
            print(json.dumps({"size": size, "worker_start": way, **line}), flush=True)
            found.append((population, result))
    return found


def main() -> None:
    """Carry out the command line."""
    options = tyro.cli(StartupOptions)
    found = measure_startup(options)
    for size in options.sizes:
        for way in options.ways:
            these = [r for o, r in found if (o.size, o.worker_start) == (size, way)]
            parts = [
                f"{name} {statistics.median(getattr(r, name) for r in these):.1f}"
                for name in ("ray_up_s", "ready_s", "start_cpu_s", "pss_gb")
            ]
            print(f"{size} {way}: {', '.join(parts)}")


if __name__ == "__main__":
    main()
