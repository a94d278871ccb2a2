"""Recipes: what they say becomes commands, what they must not say is refused in one line."""

import re
from pathlib import Path

import pytest
import yaml

from metagenrl.base.checks import UsageError
from metagenrl.commands.studies.experiment import check_experiment
from metagenrl.studies.options import ExperimentConfig
from metagenrl.studies.plan import plan, words_of
from metagenrl.studies.read_recipe import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "experiments" / "recipes"

MINIMAL = {
    "title": "T",
    "environments": {
        "meta_training": ["Pendulum-v1"],
        "selection": ["Reacher-v5"],
        "test": ["Hopper-v5"],
    },
    "train": {"preset": "quickstart"},
    "test": {"preset": "quickstart"},
    "variants": {"a": None, "b": {"train": {"objective.use-time": False}}},
    "baselines": {"ppo": {"rollout-steps": 100}},
    "scales": {"small": {"meta_seeds": 2, "first_meta_seed": 7, "agents": 3, "steps": 500}},
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    return path


def test_a_recipe_becomes_ordinary_commands(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path), "small")
    found = {str(j.folder.relative_to(tmp_path)): j for j in plan(recipe, tmp_path).jobs}
    assert found["train/b/seed-8"].words == (
        "train", "--engine", "inprocess", "--wandb", "disabled", "--preset", "quickstart",
        "--objective.no-use-time", "--envs", "Pendulum-v1", "--seed", "8",
    )  # fmt: skip
    shared = ("--seeds", "3", "--steps", "500", "--workers", "1", "--eval-every", "2500",
              "--eval-episodes", "5", "--preset", "quickstart")  # fmt: skip
    test = found["tests/Hopper-v5/b/seed-8"]
    run = tmp_path / "train" / "b" / "seed-8"
    assert test.words == (
        "test", "--objective", str(run), "--version", "last", "--env", "Hopper-v5", *shared
    )  # fmt: skip
    assert test.after == (run,)
    assert found["tests/Hopper-v5/random"].words[:3] == ("test", "--objective", "random")
    assert found["tests/Hopper-v5/ppo"].words[-2:] == ("--rollout-steps", "100")
    # TD3 and the random objective are there unasked: scores need them, in the selection as well.
    assert {name for name in found if "Reacher" in name} == {
        "tests/Reacher-v5/random", "tests/Reacher-v5/td3",
        *(f"tests/Reacher-v5/{v}/seed-{s}" for v in "ab" for s in (7, 8)),
    }  # fmt: skip
    assert "tests/Hopper-v5/td3" in found


def test_a_choice_comes_before_the_test_environments(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, keep=1), "small")
    before = [job.folder for job in plan(recipe, tmp_path).jobs]
    assert not [folder for folder in before if "Hopper-v5" in str(folder)]
    after = [job.folder for job in plan(recipe, tmp_path, ["b"]).jobs]
    assert tmp_path / "tests" / "Hopper-v5" / "b" / "seed-7" in after
    assert tmp_path / "tests" / "Hopper-v5" / "a" / "seed-7" not in after


def test_where_there_is_nothing_to_choose_the_selection_is_not_run(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, keep=2), "small")
    whole = plan(recipe, tmp_path)
    assert {condition.env for condition in whole.conditions} == {"Hopper-v5"}
    assert {condition.variant for condition in whole.conditions} == {"", "a", "b"}


def test_every_number_has_its_set(tmp_path: Path) -> None:
    sets = {"test": ["Hopper-v5", "Pendulum-v1"], "selection": ["Reacher-v5"], "seen": True}
    variants = {"a": {"meta_training": ["Pendulum-v1"]}, "b": {"meta_training": ["Hopper-v5"]}}
    recipe = read_recipe(written(tmp_path, environments=sets, variants=variants), "small")
    conditions = plan(recipe, tmp_path).conditions
    found = {(c.rule, c.env): c.set for c in conditions}
    assert found["a", "Pendulum-v1"] == found["b", "Hopper-v5"] == "meta-training"
    assert found["b", "Pendulum-v1"] == found["a", "Hopper-v5"] == found["td3", "Hopper-v5"]
    assert found["a", "Hopper-v5"] == "test"
    assert found["a", "Reacher-v5"] == "selection"


def test_a_set_is_told_by_the_environment_and_not_by_its_spelling(tmp_path: Path) -> None:
    sets = {"meta_training": ["Pendulum-v1"], "test": ["Pendulum"], "seen": True}
    recipe = read_recipe(written(tmp_path, environments=sets), "small")
    assert recipe.set_of("Pendulum", "a") == "meta-training"


def test_stages_and_meta_learners_have_commands_of_their_own(tmp_path: Path) -> None:
    variants = {"a": {"stages": [0.25, 1]}, "r": {"algo": "rl2"}, "e": {"algo": "epg"}}
    recipe = read_recipe(written(tmp_path, variants=variants), "small")
    jobs = {str(j.folder.relative_to(tmp_path)): j for j in plan(recipe, tmp_path).jobs}
    staged = jobs["tests/Hopper-v5/a-at-025/seed-7"]
    assert staged.stage == 0.25
    assert "--version" not in staged.words
    assert jobs["train/r/seed-8"].words[:9] == (
        "baseline", "--algo", "rl2", "--phase", "train", "--envs", "Pendulum-v1", "--seeds", "1"
    )  # fmt: skip
    assert jobs["train/e/seed-8"].words[2] == "epg"
    assert "--version" not in jobs["tests/Hopper-v5/r/seed-7"].words


def test_an_algorithm_under_another_name(tmp_path: Path) -> None:
    longer = {"algo": "ppo", "rollout-steps": 400}
    whole = plan(
        read_recipe(written(tmp_path, baselines={"ppo, longer": longer}), "small"), tmp_path
    )
    (job,) = [job for job in whole.jobs if "longer" in str(job.folder)]
    assert job.folder.name == "ppo,_longer"
    assert job.words[:3] == ("baseline", "--algo", "ppo")
    assert job.words[-2:] == ("--rollout-steps", "400")
    (condition,) = [c for c in whole.conditions if c.rule == "ppo, longer"]
    assert condition.env == "Hopper-v5"


def test_a_finished_objective_is_tested_without_a_meta_training(tmp_path: Path) -> None:
    variants = {"a": {"objective": "pretrained:pure"}}
    whole = plan(read_recipe(written(tmp_path, variants=variants), "small"), tmp_path)
    assert not [job for job in whole.jobs if job.words[0] == "train"]
    (job,) = [job for job in whole.jobs if "Hopper-v5/a" in str(job.folder)]
    assert job.words[1:5] == ("--objective", "pretrained:pure", "--version", "last")
    assert job.after == ()
    (found,) = [c for c in whole.conditions if (c.rule, c.env) == ("a", "Hopper-v5")]
    assert found.folders == (job.folder,)


def test_options_become_words() -> None:
    options = {"a_b": 1, "s.flag": False, "on": True, "envs": ["x", "y"], "none": None, "f": 1e-4}
    assert " ".join(words_of(options)) == (
        "--a-b 1 --s.no-flag --on --envs x y --none none --f 0.0001"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environments": {"meta_training": ["A"], "test": ["A"]}},
         "environments: got A in both test and a's meta-training, allowed: sets that"),
        ({"environments": {"meta_training": ["A"], "selection": ["B"], "test": ["B"]}},
         "environments: got B in both selection and test"),
        ({"environments": {"meta_training": ["A"], "selection": ["A"], "seen": True}},
         "environments: got A in both selection and a's meta-training"),
        ({"environments": {"test": ["A"]}}, "variants.a.meta_training: got"),
        ({"baselines": {"td4": {}}}, "baselines: got 'td4', allowed: ddpg"),
        ({"baselines": {"epg": {}}}, "baselines: got 'epg'"),
        ({"baselines": {"mine": {"algo": "epg"}}}, "baselines.mine.algo: got 'epg', allowed: ddpg"),
        ({"baselines": {"sac": {"algo": "td3"}}}, "baselines: got 'sac', allowed: another name th"),
        ({"baselines": {"b": {"algo": "td3"}}}, "baselines: got 'b', allowed: another name than a"),
        ({"variants": {"a": {"stage": [1]}}}, "variants.a.stage: unknown field, did you mean"),
        ({"variants": {"a": {"stages": [2.0]}}}, "stages: got 2.0, allowed: numbers from 0 to 1"),
        ({"variants": {"a": {"objective": "x", "stages": [1]}}}, "objective: got 'x', allowed: n"),
        ({"variants": {"a": {"algo": "td3"}}}, "algo: got 'td3', allowed: epg, rl2"),
        ({"variants": {"td3": {}}}, "variants: got 'td3', allowed: another name than an"),
        ({"variants": {"random": {}}}, "variants: got 'random', allowed: another name"),
        ({"variants": {"random objective": {}}}, "variants: got 'random objective', allowed: an"),
        ({"variants": {"": {}}}, "variants: got '', allowed: a name that a folder can have"),
        ({"variants": {"..": {}}}, "variants: got '..', allowed: a name that a folder"),
        ({"environments": {"meta_training": ["Pendulum-v1"], "test": ["Pendulum"]}},
         "environments: got Pendulum in both test and a's meta-training"),
        ({"environments": {"meta_training": ['Pendulum-v1(g={"uniform": [6, 12]})'],
                           "test": ["Pendulum(g=9)"]}},
         r"environments: got Pendulum(g=9) in both test and a's meta-training"),
        ({"environments": {"meta_training": ["A"], "test": ["Pendulum-v1(g=9)", "Pendulum(g=9)"]}},
         "environments: got Pendulum(g=9) twice in test, allowed: each environment once"),
        ({"environments": {"meta_training": ["A"], "selection": ["B", "B"]}},
         "environments: got B twice in selection"),
        ({"scales": ["small"]}, "scales: got ['small'], allowed: a mapping of fields"),
        ({"scales": None}, "scales: got None, allowed: a mapping of fields"),
        ({"scales": {"small": None}}, "scales.small: got None, allowed: a mapping of fields"),
        ({"scales": {1: {}}}, "recipe: got key 1 in scales, allowed: text, in quotes"),
        ({"train": {"agent": [{True: 1}]}}, "recipe: got key True in agent, allowed: text"),
        ({"variants": {"a": {"stages": 0.5}}}, "got 0.5, allowed: a list of numbers"),
        ({"compare": [["a", "td3"]]}, "td3']], allowed: a list of RULE > RULE, each a"),
        ({"compare": ["a > c"]}, "compare: got 'a > c', allowed: RULE > RULE"),
        ({"scales": {"large": {}}}, "scale: got 'small', allowed: large"),
        ({"scales": {"small": {"variants": ["z"]}}}, "variants: got 'z', allowed: a, b"),
        ({"scales": {"small": {"variant_train": {"z": {}}}}}, "variant_train: got 'z', allowed"),
        ({"scales": {"small": {"meta_seeds": 0}}}, "meta_seeds: got 0"),
        ({"scales": {"small": {"first_meta_seed": 2**32 - 1}}}, "first_meta_seed: got 4294967295"),
        ({"train": [1]}, "train: got"),
        ({"tilte": "x"}, "tilte: unknown field, did you mean title"),
    ],
)  # fmt: skip
def test_mistakes_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_recipe(written(tmp_path, **changes), "small")


def test_a_choice_needs_selection_environments(tmp_path: Path) -> None:
    sets = {"meta_training": ["Pendulum-v1"], "test": ["Hopper-v5"]}
    with pytest.raises(ValueError, match="keep: got 1, allowed: 0 without selection"):
        read_recipe(written(tmp_path, environments=sets, keep=1), "small")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"agnts": 3}}, "--agnts: unknown option, did you mean --agents"),
        ({"train": {"agents": 0}}, "agents: got 0"),
        ({"test": {"hidden-units": "x"}}, "hidden-units: got 'x'"),
        ({"baselines": {"ppo": {"rollout-steps": 1}}}, "rollout_steps: got 1"),
        ({"variants": {"a": {"meta_training": ["Pendulm-v1"]}}}, "Pendulm-v1"),
    ],
)
def test_a_mistake_in_any_command_is_told_before_the_first_runs(
    changes: dict, message: str, tmp_path: Path
) -> None:
    config = ExperimentConfig(recipe=written(tmp_path, **changes), out=tmp_path / "out")
    with pytest.raises(UsageError, match=message) as error:
        check_experiment(config)
    assert str(error.value).startswith("recipe: got 'metagenrl ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_are_valid(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(RECIPES.parent)  # as `make experiment` does: own environments
    for scale in yaml.safe_load(path.read_text())["scales"]:
        check_experiment(ExperimentConfig(recipe=path, scale=scale, out=tmp_path / "out"))
