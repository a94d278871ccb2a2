"""What there is to know of a meta-learning baseline's run: where it trained, how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metagenrl.agents.environment.make import check_environment
from metagenrl.base.checks import UsageError
from metagenrl.base.files.json_file import read_object
from metagenrl.baselines.padding import Padding
from metagenrl.runs.config.baselines import BASELINES, Algorithm
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.names import FACTS_FILE


@dataclass(frozen=True)
class MetaLearned:
    """A meta-learner's run folder."""

    run_dir: Path
    algo: Algorithm
    environments: tuple[str, ...]
    """The environments of the meta-training."""
    padding: Padding

    @property
    def seeds(self) -> Path:
        """Folder with one policy for each seed that is done."""
        return self.run_dir / "seeds"


def meta_learned(run_dir: Path, phase: Literal["train", "test"] = "train") -> MetaLearned | None:
    """The baseline meta-learned in `run_dir`, or None where that is another kind of run.

    `test`: the one that a meta-test there has copied. Raises `UsageError` where its facts cannot be
    read.
    """
    try:
        if not (run_dir / FACTS_FILE).exists():
            return None
        facts = read_object(run_dir / FACTS_FILE)
        if facts.get("phase") != phase or not BASELINES[facts["rule"]].meta_learner:
            return None
        padding = Padding(**facts["padding"])
        learned_in = Path(facts.get("run", run_dir))
        return MetaLearned(learned_in, facts["rule"], tuple(facts["environments"]), padding)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"objective: got {str(run_dir)!r} ({FACTS_FILE}: {error}), allowed: a complete run"
        ) from error


def baseline_of_test(config: MetaTestConfig) -> MetaLearned | None:
    """The baseline that a meta-test tests, on resume the one that it has copied; as above."""
    kept = meta_learned(config.run_dir, "test") if config.resume else None
    return kept or meta_learned(Path(config.objective))


def padding_of(config: BaselineConfig) -> Padding:
    """The sizes of a meta-training. Raises `ValueError` where an environment does not fit."""
    specs = [check_environment(env) for env in config.environments]
    return Padding.of(specs, config.rl2.pad_observations, config.rl2.pad_actions)
