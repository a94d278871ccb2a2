"""What an explanation says of numbers that are known."""

from dataclasses import replace

import numpy as np
import pytest

from metagenrl.analysis.explain.findings import RULES, Curve, Findings, VersionFindings
from metagenrl.analysis.explain.measures import ADVANTAGE, CRITIC, Alignment
from metagenrl.analysis.explain.words import describe

INPUTS = ["reward", "V(t)", "taken action"]
HEARD = {"reward": 0.25, "V(t)": 0.125, "taken action": 2.0}


def aligned(advantage: float, critic: float, env: str = "E") -> Alignment:
    cosines = dict(zip(RULES, (advantage, critic), strict=True))
    return Alignment(env, cosines, {rule: value / 2 for rule, value in cosines.items()})


FINDINGS = Findings(
    version=7, environments=["E"], agents=2, alignments=[aligned(0.75, -0.25), aligned(0.25, -0.5)],
    sensitivities=[("E", HEARD), ("E", HEARD | {"reward": 0.75})], inputs=INPUTS,
    reach=np.array([[3.0, 0.0, 0.0], [0.5, 0.25, 0.25]]),
    responses={"reward": Curve(np.array([-2.0, 0.0, 2.0]), {"E": np.array([-1.0, 5.0, 0.5])})},
    action_responses={"mean reward": Curve(np.array([-1, 0, 1]), {"E": np.array([2, 0, -2])})},
    versions=[
        VersionFindings(version, dict.fromkeys(RULES, version / 10), HEARD) for version in (0, 7)
    ],
)  # fmt: skip


def test_the_text_says_what_was_found() -> None:
    text = describe(FINDINGS, "Objective of run", "made-up trajectories")
    assert text.startswith("# Objective of run, version 7\n\nOn made-up trajectories: 2 agent(s)")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["E", ADVANTAGE, "+0.50 (+0.25 to +0.75)", "+0.25 (+0.12 to +0.38)"] in rows
    assert "clearly agrees with what REINFORCE follows (cosine +0.50)" in text
    assert "weakly opposes what DDPG and TD3 follow (cosine -0.38)" in text
    assert ["reward", "0.500"] in rows
    assert "Most of all to taken action (2.000), least to V(t) (0.125)" in text
    assert "75% is that step's own inputs" in text
    assert "from -2 to 2 of reward: +1.50 in E" in text
    assert "mean reward: -2.00 in E" in text
    assert ["7", "+0.70", "+0.70", "0.250", "0.125", "2.000"] in rows


@pytest.mark.parametrize(
    ("cosine", "words"),
    [
        (0.5, "clearly agrees with"), (0.49, "weakly agrees with"), (-0.1, "weakly opposes"),
        (-0.9, "clearly opposes"), (0.09, "has next to nothing in common with"),
    ],
)  # fmt: skip
def test_words_follow_the_cosine(cosine: float, words: str) -> None:
    findings = replace(FINDINGS, alignments=[aligned(float("nan"), cosine)])
    text = describe(findings, "Objective", "x")
    assert f"Its update {words} what DDPG and TD3 follow" in text
    assert "REINFORCE follows" not in text  # not known
    assert f"| {CRITIC}" in text


def test_one_version_has_no_history() -> None:
    text = describe(replace(FINDINGS, versions=FINDINGS.versions[:1]), "Objective", "x")
    assert "How it changed" not in text
