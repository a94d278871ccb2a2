"""Configurations: the paper's values, presets, validation, and YAML there and back."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from metagenrl.base.checks import UsageError
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import ServerOptions, TrainConfig
from metagenrl.runs.config.yaml import build, from_yaml, leaf_names, merge, to_dict, to_yaml


def test_paper_preset_is_the_tables_of_the_paper() -> None:
    paper = PRESETS["paper"].train
    assert (paper.agents, paper.steps, paper.server.staleness_bound) == (20, 600_000, 0)
    assert paper.envs == ("HalfCheetah-v5", "LunarLanderContinuous-v3")
    agent, meta, objective = paper.agent, paper.meta, paper.objective
    assert (agent.hidden_units, agent.batch_size, agent.segment_length) == (350, 100, 20)
    assert (agent.gamma, agent.polyak, agent.replay_capacity) == (0.99, 0.005, 1_000_000)
    assert (agent.target_noise, agent.target_noise_clip) == (0.2, 0.5)
    assert (agent.random_steps, agent.exploration_noise) == (10_000, 0.1)
    assert agent.policy_learning_rate == agent.critic_learning_rate == meta.learning_rate == 1e-3
    assert (meta.inner_steps, meta.inner_step_size, meta.inner_reduction) == (1, 1e-3, "sum")
    assert (meta.gradient_scaling, meta.gradient_clip, agent.policy_gradient_clip) == (
        "clip",
        1.0,
        1.0,
    )
    assert (meta.anneal_steps, meta.lifetime) == (10_000, 0)
    assert (objective.lstm_units, objective.hidden_units, objective.eta) == (32, 32, 1000.0)
    assert PRESETS["paper"].test_steps == 1_000_000


def test_small_presets_normalise_and_have_lifetimes() -> None:
    for name in ("small", "quickstart"):
        train = PRESETS[name].train
        assert train.meta.gradient_scaling == "normalize"
        assert train.meta.lifetime == 5_000
        # the same L_alpha at every size: only what is fed to it differs
        assert train.objective == ObjectiveConfig(normalization="td", reflect_actions=True)
        assert train.agent.hidden_units == 64
        # the inner step's sum is over the minibatch: a smaller one takes a larger step
        assert train.agent.batch_size * train.meta.inner_step_size == pytest.approx(0.032)
    assert PRESETS["quickstart"].train.steps < PRESETS["small"].train.steps


@pytest.mark.parametrize("preset", ["quickstart", "small", "paper"])
def test_yaml_gives_back_an_equal_configuration(preset: str, tmp_path: Path) -> None:
    config = dataclasses.replace(
        PRESETS[preset].train, agent_cpus=0.05, resume=Path("x"), run_dir=tmp_path / "größe"
    )
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert from_yaml(file) == config


def test_yaml_is_complete() -> None:
    def names(mapping: dict[str, Any], prefix: str = "") -> list[str]:
        inner = [n for k, v in mapping.items() if isinstance(v, dict) for n in names(v, f"{k}.")]
        return [f"{prefix}{name}" for name in mapping] + [f"{prefix}{n}" for n in inner]

    written = yaml.safe_load(to_yaml(TrainConfig()))
    assert sorted(names(written)) == sorted(leaf_names(TrainConfig))


def test_fields_that_a_file_leaves_out_are_the_papers(tmp_path: Path) -> None:
    file = tmp_path / "partial.yaml"
    file.write_text("agents: 4\nagent: {gamma: 0.9, policy_learning_rate: 3e-4}\n")
    expected = TrainConfig(agents=4, agent=AgentConfig(gamma=0.9, policy_learning_rate=3e-4))
    assert from_yaml(file) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("agnets: 4", "agnets: unknown field, did you mean agents?"),
        ("agent: {bacth_size: 4}", "agent.bacth_size: unknown field, did you mean agent.batch_s"),
        (
            "agent: {lifetime: 4}",
            "agent.lifetime: unknown field, did you mean `meta: {lifetime: …}`?",
        ),
        ("gama: 0.9", "gama: unknown field, did you mean `agent: {gamma: …}`?"),
        ("zzzz: 1", "zzzz: unknown field"),
        ("agents: four", "agents: got 'four', allowed: a whole number"),
        ("agents: 4.5", "agents: got 4.5, allowed: a whole number"),
        ("agents: true", "agents: got True, allowed: a whole number"),
        ("agents: null", "agents: got None, allowed: a whole number"),
        ("agent: {gamma: [1]}", "agent.gamma: got [1], allowed: a finite number"),
        ("agent: {target_noise: .nan}", "agent.target_noise: got nan, allowed: a finite number"),
        ("agent: 5", "agent: got 5, allowed: a mapping of fields to values"),
        ("meta: {stagger: 1}", "meta.stagger: got 1, allowed: true or false"),
        ("envs: Pendulum-v1", "envs: got 'Pendulum-v1', allowed: a list of names"),
        ("envs: [1]", "envs: got 1, allowed: text"),
        ("engine: dask", "engine: got 'dask', allowed: ray, inprocess"),
        ("run_dir: 3", "run_dir: got 3, allowed: a path"),
        ("- 1", "allowed: a YAML mapping of fields to values"),
        ("a: [", "allowed: valid YAML"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        from_yaml(file)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config: got '.*none\.yaml' \(No such file"):
        from_yaml(tmp_path / "none.yaml")


def test_a_missing_required_field_is_named() -> None:
    with pytest.raises(UsageError, match=r"^env: missing, allowed: text$"):
        build(BaselineConfig, {"run_dir": "x", "algo": "td3"})


def test_merge_goes_section_by_section() -> None:
    below = {"a": 1, "agent": {"x": 1, "y": 2}}
    over = {"agent": {"y": 3}, "b": {"z": 4}}
    assert merge(below, over) == {"a": 1, "agent": {"x": 1, "y": 3}, "b": {"z": 4}}
    assert below == {"a": 1, "agent": {"x": 1, "y": 2}}


BAD_TRAIN: list[tuple[dict[str, Any], str]] = [
    ({"envs": ()}, "envs"),
    ({"agents": 0}, "agents"),
    ({"agents": 1}, "envs"),  # two environments
    ({"steps": -1}, "steps"),
    ({"steps": 0}, "steps"),
    ({"seed": -1}, "seed"),
    ({"checkpoint_every": 0}, "checkpoint_every"),
    ({"keep_checkpoints": 0}, "keep_checkpoints"),
    ({"snapshot_every": 0}, "snapshot_every"),
    ({"log_every": 0}, "log_every"),
    ({"max_restarts": -1}, "max_restarts"),
    ({"round_timeout": 0.0}, "round_timeout"),
    ({"round_timeout": float("inf")}, "round_timeout"),
    ({"agent_cpus": 0.0}, "agent_cpus"),
    ({"agent": AgentConfig(batch_size=501)}, "learning_starts"),
    ({"meta": MetaConfig(inner_steps=10)}, "learning_starts"),
    ({"agent": AgentConfig(replay_capacity=999)}, "replay_capacity"),
    ({"meta": MetaConfig(lifetime=1_000)}, "lifetime"),
]


@pytest.mark.parametrize(("fields", "named"), BAD_TRAIN)
def test_bad_training_values_are_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named}: got .*, allowed: .+$"):
        TrainConfig(**fields)


def test_the_least_data_for_the_first_update_is_enough() -> None:
    agent = AgentConfig(batch_size=50, learning_starts=200)
    assert TrainConfig(agent=agent, meta=MetaConfig(inner_steps=3)).agent is agent
    with pytest.raises(ValueError, match="at least 250, the segments of 5 minibatch"):
        TrainConfig(agent=agent, meta=MetaConfig(inner_steps=4))


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"staleness_bound": -1}, "staleness_bound"), ({"quarantine_after": 0}, "quarantine_after")]
    + [({"quorum": q}, "quorum") for q in (0.0, 1.5, float("nan"))],
)
def test_bad_server_options_are_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named}: got "):
        ServerOptions(**fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"seeds": 0}, "seeds"),
        ({"steps": 0}, "steps"),
        ({"first_seed": -1}, "first_seed"),
        ({"workers": 0}, "workers"),
        ({"eval_every": 0}, "eval_every"),
        ({"eval_episodes": 0}, "eval_episodes"),
        ({"version": "newest"}, "version"),
        ({"version": "-1"}, "version"),
        ({"objective": ""}, "objective"),
        ({"agent": AgentConfig(batch_size=2_000)}, "learning_starts"),
    ],
)
def test_bad_meta_test_values_are_refused(fields: dict[str, Any], named: str) -> None:
    good: dict[str, Any] = {"objective": "random", "env": "Pendulum-v1", "run_dir": Path("x")}
    with pytest.raises(ValueError, match=rf"^{named}: got "):
        MetaTestConfig(**(good | fields))


@pytest.mark.parametrize(("text", "version"), [("12", 12), ("best", "best"), ("last", "last")])
def test_version_is_a_number_or_a_word(text: str, version: int | str) -> None:
    config = MetaTestConfig(objective="x", env="y", run_dir=Path("z"), version=text)
    assert config.wanted == version


def test_a_stores_password_is_in_no_text_of_a_configuration() -> None:
    config = build(TrainConfig, {"store": "redis://ann:s3cret@127.0.0.1:7000/1"})
    assert config.store.password == "s3cret"
    assert "s3cret" not in f"{config!r} {to_yaml(config)} {to_dict(config)}"
    assert "store: redis://ann@127.0.0.1:7000/1" in to_yaml(config)
    again = build(TrainConfig, to_dict(config))
    assert (again.store.url, again.store.password) == (config.store.url, None)
