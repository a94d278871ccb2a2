"""What trained agents do: a strip of pictures of one agent for each rule, or population, and
environment."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metagenrl.analysis.compare.same import labels
from metagenrl.analysis.number_text import short
from metagenrl.analysis.report.contents import Fact, Facts, Section, Strip
from metagenrl.analysis.report.discover import Runs, TestRun, TrainRun
from metagenrl.analysis.run_history import RunHistory
from metagenrl.base.job_process import start_process
from metagenrl.base.wording import counted
from metagenrl.policies.find import kept_seeds

PROCESS = "metagenrl.policies.strips_process"
MOST = 8
"""Strips on a page; each takes seconds and some 50 kB."""
TIMEOUT = 60.0
"""Seconds for one strip, after which those that are missing are given up."""


@dataclass(frozen=True)
class Scene:
    """The agent whose last return is the median one's (of two, the lower)."""

    run: Path
    env: str
    seed: int  # or the agent of a population
    title: str


def films_section(runs: Runs, histories: Mapping[Path, RunHistory]) -> Section:
    """A strip for each rule or population and environment with a kept policy, or why not."""
    found: list[Scene | str] = [*_tested(runs.tests)]
    for run in runs.training:
        found += _trained(run, histories[run.path])
    scenes = [each for each in found if isinstance(each, Scene)]
    strips, reasons = drawn(scenes[:MOST])
    if scenes:
        reasons += [each for each in found if isinstance(each, str)]
    reasons += [f"No pictures: {s.title} (a page shows {MOST})" for s in scenes[MOST:]]
    text = (
        "Pictures at even steps of one episode, the deterministic policy from the left. "
        "metagenrl record makes a film of it."
    )
    facts = [Facts("", [Fact(reason) for reason in reasons])] if reasons else []
    return Section("films", "What agents do", text, facts=facts, strips=strips)


def drawn(scenes: Sequence[Scene], process: str = PROCESS) -> tuple[list[Strip], list[str]]:
    """The strips that this machine can draw, and a line for each that it cannot."""
    if not scenes:
        return [], []
    with tempfile.TemporaryDirectory() as folder:
        stems = [Path(folder, f"film-{index}") for index in range(len(scenes))]
        jobs = [[str(s.run), s.seed, str(t)] for s, t in zip(scenes, stems, strict=True)]
        ended = _run(process, json.dumps(jobs), Path(folder, "log"), TIMEOUT * len(scenes))
        strips: list[Strip] = []
        reasons: dict[str, None] = {}
        for scene, stem in zip(scenes, stems, strict=True):
            picture, reason = stem.with_suffix(".png"), stem.with_suffix(".txt")
            if picture.is_file():
                strips.append(Strip(stem.name, picture.read_bytes(), scene.title))
            else:
                told = reason.read_text(encoding="utf-8") if reason.is_file() else ended
                reasons[f"No pictures of {scene.env}: {told}"] = None
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


def _tested(tests: Sequence[TestRun]) -> Iterator[Scene]:
    """A scene for each rule and environment, whichever of its runs the median agent is in."""
    names = labels(tests)
    groups: dict[tuple[str, str], dict[tuple[Path, int], float | None]] = {}
    for test in tests:
        returns = {(test.path, row.seed): row.return_mean for row in test.rows()}
        groups.setdefault((names[test.path], test.env), {}).update(returns)
    for (name, env), of_group in groups.items():
        found = _median(of_group)
        if found is not None:
            (run, seed), value, agents = found
            title = f"{name} in {env}: seed {seed}, the median of {counted(agents, 'agent')}"
            yield Scene(run, env, seed, f"{title}, return {short(value)}")


def _trained(run: TrainRun, history: RunHistory) -> Iterator[Scene | str]:
    """A scene for each environment, or why there is none."""
    for env in history.environments:
        rows = (row for row in history.latest.values() if row.env == env)
        found = _median({(run.path, row.agent): row.return_mean for row in rows})
        population = f"population {run.name} in {env}"
        if found is None:
            yield f"No pictures of {population}: no agent with a policy has ended an episode lately"
            continue
        (_, agent), value, agents = found
        title = f"{population}: agent {agent}, the median of {agents}"
        yield Scene(run.path, env, agent, f"{title}, return {short(value)} while it explores")


def _median(
    returns: Mapping[tuple[Path, int], float | None],
) -> tuple[tuple[Path, int], float, int] | None:
    """Of those with a kept policy: who (run and seed), the return, and how many there are."""
    kept = {run: set(kept_seeds(run)) for run in {run for run, _ in returns}}
    known = sorted(
        (value, run, seed)
        for (run, seed), value in returns.items()
        if value is not None and seed in kept[run]
    )
    if not known:
        return None
    value, run, seed = known[(len(known) - 1) // 2]
    return (run, seed), value, len(known)
