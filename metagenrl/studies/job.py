"""One command of a study and the run folder that it makes; done once, resumed wherever cut."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.base.files.atomic import write_atomic
from metagenrl.objective_server.snapshots.find import snapshot_versions
from metagenrl.runs.names import CONFIG_FILE

DONE = ".done"
METAGENRL = (sys.executable, "-m", "metagenrl.commands.main")


@dataclass(frozen=True)
class Job:
    """An ordinary command, as it would be typed, but for `--run-dir`."""

    folder: Path
    """Its run folder; what it prints goes to the file of that name with `.log`."""
    words: tuple[str, ...]
    after: tuple[Path, ...] = ()
    """Run folders of jobs that must be done before."""
    stage: float | None = None
    """Of a test: the share of the meta-training after which alpha is taken."""
    chain: str = ""
    """Jobs with the same name belong to one share of a study (see `share_of`)."""
    program: tuple[str, ...] = METAGENRL
    """Or another program that takes --run-dir and --resume."""
    label: str = ""
    """What it is called where it is refused."""

    @property
    def done(self) -> bool:
        """Whether the command has come to its end before."""
        return (self.folder / DONE).exists()

    @property
    def ready(self) -> bool:
        """Whether all that it waits for is done."""
        return all((folder / DONE).exists() for folder in self.after)

    @property
    def log(self) -> Path:
        """The file with the command's output."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def command(self) -> list[str]:
        """The command line; one that was interrupted goes on where it stood."""
        words = [*self.program, *self.words]
        if self.stage is not None:
            run = Path(self.words[self.words.index("--objective") + 1])
            words += ["--version", str(version_at(run, self.stage))]
        if not (self.folder / CONFIG_FILE).exists():
            return [*words, "--run-dir", str(self.folder)]
        if self.words[0] == "train":
            return [*words, "--resume", str(self.folder)]
        return [*words, "--run-dir", str(self.folder), "--resume"]

    def begin(self) -> list[str]:
        """The command line; its words are noted, so that no others go on with what is begun."""
        command = self.command()
        write_atomic(self._begun, [json.dumps(self.words).encode()])
        return command

    @property
    def _begun(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.begun")

    def finish(self) -> None:
        """Note that it is done, and by which command."""
        write_atomic(self.folder / DONE, [json.dumps(self.words).encode()])
        self._begun.unlink(missing_ok=True)

    def require_same(self) -> None:
        """Raise `UsageError` where the folder is another command's than this, done or begun."""
        begun = (self.folder / CONFIG_FILE).exists() and self._begun.exists()
        if not self.done and not begun:
            return
        made_by = self._made_by(self.folder / DONE if self.done else self._begun)
        if made_by is not None and not self._is_made_by(made_by):
            raise UsageError(
                f"out: got {str(self.folder)!r} (made by {' '.join(made_by)!r}), allowed: "
                f"a new folder for {' '.join(self.words)!r}"
            )

    def _is_made_by(self, words: tuple[str, ...]) -> bool:
        """Whether `words` are this command's.

        The study's folder may have been moved, or named from another place, so that a run in it
        that this one waits for counts by the last two parts of its path.
        """

        def same(mine: str, theirs: str) -> bool:
            moved = Path(mine) in self.after and Path(mine).parts[-2:] == Path(theirs).parts[-2:]
            return mine == theirs or moved

        return len(words) == len(self.words) and all(map(same, self.words, words))

    def _made_by(self, path: Path) -> tuple[str, ...] | None:
        """What was noted there; None of a release that noted nothing."""
        try:
            text = path.read_text()
            found = json.loads(text) if text else None
            if found is not None and not isinstance(found, list):
                raise ValueError("not a list of words")
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"out: got {str(path)!r} ({error}), allowed: a file that a study wrote; without it "
                "the job is run again"
            ) from error
        return None if found is None else tuple(map(str, found))


def environment() -> Mapping[str, str]:
    """Of a job's process: one thread, since the jobs themselves share the cores."""
    # What can be imported here can be there: environments may live in the user's own modules.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}


def version_at(run: Path, stage: float) -> int:
    """The version of a finished run's objective that lies nearest to a share of its training.

    Raises `UsageError` where the run has no snapshots.
    """
    versions = snapshot_versions(run)
    if not versions:
        raise UsageError(f"objective: got {str(run)!r} (no snapshots), allowed: a trained run")
    return min(versions, key=lambda version: abs(version - stage * versions[-1]))
