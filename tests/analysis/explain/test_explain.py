"""Explanations: rules whose answer is known, and whole explanations of small real runs."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from metagenrl.analysis.explain.assemble import make_explanation
from metagenrl.analysis.explain.config import ExplainConfig
from metagenrl.analysis.explain.measures import (
    ADVANTAGE,
    CRITIC,
    Explained,
    alignment,
    inputs_of,
)
from metagenrl.analysis.explain.responses import OFFSETS, action_response, feature_response
from metagenrl.analysis.explain.trajectories import AgentSamples, new_samples, stored_samples
from metagenrl.commands.explain import explain_config
from metagenrl.commands.main import main
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.objective.derivatives import LearnedObjective
from metagenrl.learner.objective.features import feature_names
from metagenrl.learner.objective.net import ObjectiveNet, first_alpha
from metagenrl.learner.policy_update import CriticObjective, Reinforce
from metagenrl.objective_server.snapshots.find import snapshot_path, snapshot_versions
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import from_yaml

AGENT = AgentConfig(
    hidden_units=8, batch_size=8, learning_starts=20, random_steps=60, replay_capacity=200
)
ENVS = ("Pendulum-v1", "MountainCarContinuous-v0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of two agents that is over in a second or two."""
    folder = tmp_path_factory.mktemp("explain") / "run"
    line = (
        f"train --run-dir {folder} --envs {' '.join(ENVS)} --agents 2 --steps 60 --engine "
        "inprocess --wandb disabled --hidden-units 8 --batch-size 4 --learning-starts 20 "
        "--lifetime 0 --objective.hidden-units 8 --objective.lstm-units 8 --snapshot-every 10"
    )
    main(line.split())
    return folder


@pytest.fixture(scope="module")
def samples() -> list[AgentSamples]:
    return new_samples("Pendulum-v1", AGENT, CriticObjective(), 80, minibatches=2, seed=0)


def test_known_rules_align_with_themselves(samples: list[AgentSamples]) -> None:
    by_critic = alignment(CriticObjective(), samples[0])
    by_advantage = alignment(Reinforce(AGENT.gamma, AGENT.gae_lambda), samples[0])
    for found, rule in ((by_critic, CRITIC), (by_advantage, ADVANTAGE)):
        assert found.actions[rule] == pytest.approx(1.0, abs=1e-4)
        assert found.parameters[rule] == pytest.approx(1.0, abs=1e-4)
        other = CRITIC if rule == ADVANTAGE else ADVANTAGE
        assert abs(found.actions[other]) < 0.99


class TowardsReward(LearnedObjective):
    """l_t = |a - pi|^2 r / 2 in place of the network: pull and push are known."""

    def forward(self, pi, inputs):
        return pi, inputs

    def action_gradient(self, tape):
        pi, inputs = tape
        return (pi - inputs.actions) * inputs.features[..., :1]


@pytest.fixture
def towards_reward() -> TowardsReward:
    net = ObjectiveNet(ObjectiveConfig())
    return TowardsReward(net, torch.zeros(net.layout.size))


def test_the_pull_of_a_known_objective(towards_reward, samples) -> None:
    """Its pull is mean |a - pi| r, in units of the gradient's root mean square."""
    pulls = feature_response(towards_reward, samples[0], 0, np.array([-2.0, 0.0, 1.0]))
    expected = []
    for evaluation in samples[0].evaluations:
        inputs = inputs_of(towards_reward, evaluation)
        away, mask = (inputs.actions - evaluation.pi).norm(dim=-1), inputs.mask
        sizes = away.square() * inputs.features[..., 0].square() * mask
        middle = mask.shape[1] // 2
        mean = (away[:, middle] * mask[:, middle]).sum() / mask[:, middle].sum()
        expected.append(float(mean / (sizes.sum() / mask.sum()).sqrt()))
    np.testing.assert_allclose(pulls, np.mean(expected) * np.array([-2, 0, 1]), rtol=1e-4)


def test_the_push_of_a_known_objective(towards_reward, samples) -> None:
    """Towards a good action, away from a bad one, nowhere at a reward of 0."""
    good, bad, none = (action_response(towards_reward, samples[0], r) for r in (1.0, -1.0, 0.0))
    assert (np.diff(good) > 0).all()
    np.testing.assert_allclose(bad, -good, atol=1e-6)
    np.testing.assert_allclose(none, 0.0, atol=1e-7)
    assert good[np.argmin(abs(OFFSETS))] == pytest.approx(0.0, abs=1e-6)


def test_inputs_are_named_after_the_variant() -> None:
    assert feature_names(ObjectiveConfig()) == ["reward", "time", "V(t+1)", "V(t)"]
    td = ObjectiveConfig(normalization="td")
    assert feature_names(td) == ["reward", "time", "TD error", "V(t)"]
    assert feature_names(ObjectiveConfig(use_time=False, use_next_value=False)) == [
        "reward",
        "V(t)",
    ]
    assert feature_names(ObjectiveConfig(use_value=False)) == ["reward", "time"]


def stored(
    run: Path, config: TrainConfig, agents: int, minibatches: int, resample_noise: float = 0.0
) -> list[AgentSamples]:
    given = config.agent_envs, config.agent, resample_noise
    return stored_samples(run, *given, agents, minibatches, seed=0)


def test_stored_trajectories_are_those_of_the_checkpoint(run: Path) -> None:
    config = from_yaml(run / "config.yaml")
    found = stored(run, config, agents=1, minibatches=3)
    assert [(sample.name, sample.env) for sample in found] == [
        ("agent 0", ENVS[0]), ("agent 1", ENVS[1]),
    ]  # fmt: skip
    evaluation = found[0].evaluations[0]
    assert len(found[0].evaluations) == 3
    assert evaluation.batch.actions.shape == (4, 20, 1)
    angles = evaluation.batch.observations[:, 0]
    np.testing.assert_allclose(angles[:, :2].square().sum(-1), 1.0, atol=1e-5)  # cos^2 + sin^2


def test_a_resampled_objective_is_shown_actions_around_the_stored_policies(run: Path) -> None:
    config = from_yaml(run / "config.yaml")
    taken, around = (stored(run, config, 1, 3, noise)[0] for noise in (0.0, 1e-3))
    for own, other in zip(around.evaluations, taken.evaluations, strict=True):
        mask = other.batch.mask[..., None]
        torch.testing.assert_close(own.batch.actions, own.pi * mask, rtol=0, atol=0.01)
        torch.testing.assert_close(own.pi, other.pi)
        assert not torch.allclose(other.batch.actions, other.pi * mask, atol=0.01)


@pytest.fixture(scope="module")
def explanation(run: Path) -> Iterator[tuple[str, Path]]:
    config = ExplainConfig(run, "last", agents=1, minibatches=1, versions=3)
    yield make_explanation(config)
    shutil.rmtree(run / "explain")


def test_an_explanation_of_a_run(run: Path, explanation: tuple[str, Path]) -> None:
    text, folder = explanation
    assert folder == run / "explain"
    assert (folder / "explain.md").read_text() == text
    last = snapshot_versions(run)[-1]
    assert text.startswith(f"# Objective of run, version {last}\n")
    assert "2 agent(s) in Pendulum-v1, MountainCarContinuous-v0" in text
    for name in ("alignment", "sensitivity", "responses", "versions"):
        assert matplotlib.image.imread(folder / f"{name}.png").std() > 0.05


def test_the_versions_start_untrained_and_end_with_the_one_explained(
    run: Path, explanation: tuple[str, Path]
) -> None:
    table = explanation[0].split("## How it changed")[1]
    versions = [line.split("|")[1].strip() for line in table.strip().splitlines()[2:]]
    there = [0, *snapshot_versions(run)]
    assert versions[0] == "0"
    assert versions[-1] == str(there[-1])
    assert len(versions) == 3


def test_versions_after_the_one_explained_are_left_out(run: Path, tmp_path: Path) -> None:
    first, *later = snapshot_versions(run)
    assert later
    config = ExplainConfig(
        run, str(first), agents=1, minibatches=1, versions=9, out=tmp_path / "out"
    )
    text, _ = make_explanation(config)
    table = text.split("## How it changed")[1].strip().splitlines()[2:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert [row[0] for row in rows] == ["0", str(first)]
    assert rows[0][1:] != rows[1][1:]
    aligned = [line for line in text.splitlines() if ADVANTAGE in line and line.startswith("| ")]
    shown = np.mean([float(line.split("|")[3]) for line in aligned[:2]])  # one agent each
    assert float(rows[1][1]) == pytest.approx(shown, abs=0.011)  # both rounded


def test_stored_agents_are_as_many_as_asked_for_in_each_environment(run: Path) -> None:
    alone = replace(from_yaml(run / "config.yaml"), envs=ENVS[:1])  # then both are of the first
    for wanted, names in ((1, ["agent 0"]), (2, ["agent 0", "agent 1"])):
        found = stored(run, alone, agents=wanted, minibatches=1)
        assert [sample.name for sample in found] == names


def test_version_0_is_what_the_run_started_from(run: Path) -> None:
    """The first kept version is ten small steps away from it."""
    from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

    config = from_yaml(run / "config.yaml")
    start = first_alpha(config.objective, config.seed).numpy()
    path = snapshot_path(run, snapshot_versions(run)[0])
    first = ObjectiveSnapshot.load(path).alpha
    assert 0 < np.abs(first - start).max() < 0.05
    assert np.linalg.norm(start) > 1


def test_a_bare_file_is_explained_in_an_environment(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "alone.safetensors"
    shutil.copy(snapshot_path(run, snapshot_versions(run)[0]), file)
    line = f"{file} --env Pendulum-v1 --steps 60 --preset small --minibatches 1 --out {tmp_path}/o"
    text, folder = make_explanation(explain_config(line.split()))
    assert "a new agent that it trained for 60 steps: 1 agent(s) in Pendulum-v1" in text
    assert sorted(path.name for path in folder.iterdir()) == [
        "alignment.png", "explain.md", "responses.png", "sensitivity.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("explain none", "objective: got 'none' ("),
        ("explain FILE", "env: missing (the file lies in no run), allowed: an environment's id"),
        ("explain FILE --env Pendulm-v1", "env: got 'Pendulm-v1'"),
        ("explain FILE --env Pendulum-v1 --steps 0", "steps: got 0, allowed: a whole number >= 1"),
        ("explain FILE --steps 5", "steps: got 5, allowed: only with --env"),
        ("explain FILE --version newest", "version: got 'newest', allowed: best, last or a whole"),
        ("explain FILE --minibatches 0", "minibatches: got 0, allowed: a whole number >= 1"),
    ],
)
def test_mistakes_are_one_line(line: str, complaint: str, refusal, snapshot, tmp_path) -> None:
    file = tmp_path / "alone.safetensors"
    snapshot.save(file)
    assert refusal(line.replace("FILE", str(file))).startswith(complaint)


def test_sensitivity_covers_every_input(run: Path) -> None:
    config = from_yaml(run / "config.yaml")
    net = ObjectiveNet(config.objective)
    explained = Explained(LearnedObjective(net, first_alpha(config.objective, config.seed)))
    (sample, _) = stored(run, config, agents=1, minibatches=1)
    found = explained.sensitivity(sample, torch.Generator().manual_seed(0))
    assert list(found) == ["reward", "time", "TD error", "V(t)", "taken action"]
    assert all(value > 0 for value in found.values())
    assert explained.reach(sample, torch.Generator()).shape == (20, 5)
