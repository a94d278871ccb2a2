"""What trained agents do: a strip of pictures of one agent for each rule and environment."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metagenrl.analysis.number_text import short
from metagenrl.analysis.report.contents import Fact, Facts, Section, Strip
from metagenrl.analysis.report.discover import TestRun
from metagenrl.base.job_process import start_process
from metagenrl.policies.find import kept_seeds

PROCESS = "metagenrl.policies.strips_process"
MOST = 8
"""Strips on a page; each takes seconds and some 50 kB."""
TIMEOUT = 60.0
"""Seconds for one strip, after which those that are missing are given up."""


@dataclass(frozen=True)
class Scene:
    """The agent whose last return is the median one's (of two, the lower)."""

    test: TestRun
    seed: int
    last: float
    agents: int

    @property
    def title(self) -> str:
        """Who it is, in one line."""
        test, of = self.test, f"the median of {self.agents} agents"
        return f"{test.label} in {test.env}: seed {self.seed}, {of}, return {short(self.last)}"


def films_section(tests: Sequence[TestRun]) -> Section:
    """A strip for each rule and environment with a kept policy, or why it cannot be drawn."""
    scenes = {(t.label, t.env): s for t in tests if (s := _scene(t)) is not None}
    strips, reasons = drawn(list(scenes.values())[:MOST])
    text = (
        "Pictures at even steps of one episode, the deterministic policy from the left. "
        "`metagenrl record` makes a film of it."
    )
    facts = [Facts("", [Fact(reason) for reason in reasons])] if reasons else []
    return Section("films", "What agents do", text, facts=facts, strips=strips)


def drawn(scenes: Sequence[Scene], process: str = PROCESS) -> tuple[list[Strip], list[str]]:
    """The strips that this machine can draw, and a line for each that it cannot."""
    if not scenes:
        return [], []
    with tempfile.TemporaryDirectory() as folder:
        stems = [Path(folder, f"film-{index}") for index in range(len(scenes))]
        jobs = [[str(s.test.path), s.seed, str(t)] for s, t in zip(scenes, stems, strict=True)]
        ended = _run(process, json.dumps(jobs), Path(folder, "log"), TIMEOUT * len(scenes))
        strips: list[Strip] = []
        reasons: dict[str, None] = {}
        for scene, stem in zip(scenes, stems, strict=True):
            picture, reason = stem.with_suffix(".png"), stem.with_suffix(".txt")
            if picture.is_file():
                strips.append(Strip(stem.name, picture.read_bytes(), scene.title))
            else:
                told = reason.read_text(encoding="utf-8") if reason.is_file() else ended
                reasons[f"No pictures of {scene.test.env}: {told}"] = None
    return strips, list(reasons)


def _run(process: str, job: str, log: Path, seconds: float) -> str:
    """Have the job done; how it ended, in words."""
    try:
        child = start_process(process, job, log)
    except OSError as error:
        return str(error)
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"drawing took longer than {seconds:.0f} s"
    finally:
        child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()
    return f"the process that draws ended with exit code {code}"


def _scene(test: TestRun) -> Scene | None:
    kept = set(kept_seeds(test.path))
    last = {row.seed: row.return_mean for row in test.rows()}
    known = sorted((v, seed) for seed, v in last.items() if v is not None and seed in kept)
    if not known:
        return None
    value, seed = known[(len(known) - 1) // 2]
    return Scene(test, seed, value, len(known))
