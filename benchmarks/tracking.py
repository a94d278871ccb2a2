"""What trackers cost a run: CPU seconds of the driver, of the followers, and bits changed.

`python -m benchmarks.tracking [STEPS]` trains the same small population in one process, without
and with trackers, each in a fresh process, and prints a line for each. CPU time is used because
wall time on a machine with other work says nothing about a per cent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ARGUMENTS = "--preset quickstart --engine inprocess --steps"
SETTINGS = {
    "no tracker": ("--wandb", "disabled"),
    "W&B offline": ("--wandb", "offline"),
    "W&B offline and TensorBoard": ("--wandb", "offline", "--tensorboard"),
}
_SCRIPT = """
import json, resource, sys
from metagenrl.cluster.main import main
main(sys.argv[1:])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([usage.ru_utime + usage.ru_stime for usage in used]))
"""


def measure(steps: int, flags: tuple[str, ...], folder: Path) -> tuple[float, float, bytes]:
    """CPU seconds of the driver and of all it started, and the last objective's file digest."""
    command = [sys.executable, "-c", _SCRIPT, "train", *ARGUMENTS.split(), str(steps)]
    done = subprocess.run(
        [*command, "--run-dir", str(folder), *flags], check=True, stdout=subprocess.PIPE
    )
    driver, others = json.loads(done.stdout.splitlines()[-1])
    from metagenrl.objective_server.find import find_snapshot
    from metagenrl.objective_server.snapshot import ObjectiveSnapshot

    alpha = ObjectiveSnapshot.load(find_snapshot(folder, "last")).alpha
    return driver, others, alpha.tobytes()


def main() -> None:
    """Measure each setting once; the driver's share is relative to the first."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    first: tuple[float, float, bytes] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, flags) in enumerate(SETTINGS.items()):
            found = measure(steps, flags, Path(folder) / str(index))
            first = first or found
            more = 100 * (found[0] / first[0] - 1)
            same = "same bits" if found[2] == first[2] else "OTHER BITS"
            print(
                f"{name}: driver {found[0]:.1f} CPU-s ({more:+.1f} %), "
                f"followers {found[1]:.1f} CPU-s, {same}"
            )


if __name__ == "__main__":
    main()
