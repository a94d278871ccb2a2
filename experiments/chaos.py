"""Chaos: strike a small population at random while it trains; at the end nothing may be lost.

    python experiments/chaos.py --minutes 10 --seed 0 --out results/chaos

A seeded schedule says when what happens. SIGKILL: agents, the objective server, the driver, Redis
(the run's store), a raylet, all of a node. SIGTERM: the driver. SIGSTOP, for longer than a round
waits: an agent, the server, the driver. A Redis that is full. A node whose network is cut and
comes back (needs root). What was struck is brought back: by the run itself or, for driver, Redis,
cable and nodes, by this program, which resumes the run. Then the run finishes undisturbed, and
`chaos_audit.py` checks what docs/reliability.md promises. Exit code 1 where it does not hold, or
where there were fewer events than `--events`.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chaos_audit import audit
from chaos_population import Population
from chaos_report import Report, write_report
from chaos_victims import VICTIMS, Victim

AFTERMATH = 900.0  # seconds for the undisturbed end
PATIENCE = 4
TICK = 0.1  # seconds


def schedule(rng: random.Random, seconds: float, events: int) -> list[tuple[float, Victim]]:
    """When (seconds from the start) to do what: a fifth more than `events`, evenly at random.

    Each kind comes at least once.
    """
    count = max(events + -(-events // 5), len(VICTIMS))
    weights = [victim.weight for victim in VICTIMS]
    victims = [*VICTIMS, *rng.choices(VICTIMS, weights, k=count - len(VICTIMS))]
    rng.shuffle(victims)
    return list(zip(sorted(rng.uniform(0, seconds) for _ in range(count)), victims, strict=True))


def torment(
    population: Population, rng: random.Random, seconds: float, events: int
) -> Counter[str]:
    """Carry the schedule out; how many events of each kind there were.

    Its clock stands still while a driver is starting, so that what is struck is a run and not its
    first second again and again. A kind that has no process just then (a server that is coming
    back) waits its turn. All that ends after `PATIENCE` times the schedule.
    """
    done: Counter[str] = Counter()
    todo = schedule(rng, seconds, events)
    clock, began = 0.0, time.monotonic()
    while todo and time.monotonic() - began < PATIENCE * seconds:
        population.attend()
        for entry in [entry for entry in todo if entry[0] <= clock]:
            if entry[1].kill(population, rng):
                done[entry[1].name] += 1
                todo.remove(entry)
        time.sleep(TICK)
        clock += TICK if population.under_way() else 0.0
    return done


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the schedule")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule and of the run")
    parser.add_argument("--events", type=int, default=100, help="least number of events")
    parser.add_argument("--out", type=Path, required=True, help="report: OUT.json, OUT.md")
    options = parser.parse_args(argv)
    if options.minutes <= 0 or options.events < 1:
        parser.error(f"minutes, events: got {options.minutes}, {options.events}, allowed: above 0")
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    rng = random.Random(options.seed)
    with contextlib.closing(Population(folder / "run", options.seed)) as population:
        population.wait_until_training()
        done = torment(population, rng, options.minutes * 60, options.events)
        finished = population.finish(AFTERMATH)
        checks = audit(folder / "run", population.broken_promises, finished)
        report = Report(
            seed=options.seed,
            seconds=round(time.monotonic() - began, 1),
            events={victim.name: done[victim.name] for victim in VICTIMS},
            wanted=options.events,
            resumed=population.resumed,
            facts=population.facts(),
            checks=checks,
        )
    print(write_report(options.out, report))
    if report.passed:
        shutil.rmtree(folder)
    else:
        print(f"the run's folder is kept: {folder}", file=sys.stderr)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
