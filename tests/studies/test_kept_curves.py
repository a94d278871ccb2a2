"""Tables made again from the curves that a report keeps, also those of results/."""

import csv
from pathlib import Path

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.commands.main import main
from metagenrl.studies.kept_curves import read_kept_curves
from metagenrl.studies.plan import Condition, plan
from metagenrl.studies.read_recipe import read_recipe
from metagenrl.studies.report import overalls, to_csv

ROOT = Path(__file__).parents[2]
HEADER = "trained_by,environment,set,meta_seed,agent,step,mean_return\n"
KEPT = [  # recipe, its scale, name of the table in results/
    ("generalisation", "small", "generalisation"),
    ("generalisation", "long", "longer_meta_training"),
    ("generalisation", "levers", "levers_test"),
    ("levers", "small", "levers"),
    ("number_of_environments", "small", "number_of_environments"),
    ("other_agents", "small", "other_agents"),
    ("other_agents", "wide", "other_agents_wide"),
    ("generalisation", "resampled", "resampled"),
    ("generalisation", "longer", "longer_agents"),
    ("longer_lives", "small", "longer_lives"),
]


def conditions(folder: Path) -> list[Condition]:
    return [
        Condition("td3", "X-v0", "test", (folder,)),
        Condition("learned", "X-v0", "test", (folder, folder), variant="learned"),
    ]


def test_agents_and_seeds_find_their_places(tmp_path: Path) -> None:
    file = tmp_path / "curves.csv"
    rows = ["td3,X-v0,test,,0,0,1", "learned,X-v0,test,8,0,0,2", "learned,X-v0,test,8,1,0,3"]
    file.write_text(HEADER + "\n".join(rows) + "\n")
    td3, learned = read_kept_curves(file, conditions(tmp_path), first_seed=7)
    assert td3.handmade
    assert td3.curves[0].returns.tolist() == [[1.0]]
    assert list(learned.curves) == [1]  # seed 8 is the second one
    assert learned.curves[1].returns.tolist() == [[2.0], [3.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "allowed: the columns trained_by, environment, set, meta_seed, agent"),
        (HEADER + "td3,X-v0,test,,0,0,much\n", "line 2 (could not convert string to float: 'much'"),
        (HEADER + "td3,X-v0,test\n", "line 2"),
        (HEADER + "sac,X-v0,test,,0,0,1\n", "got 'sac' in X-v0 (test), allowed: what the recipe's"),
        (HEADER + "learned,X-v0,test,6,0,0,1\n", "meta-training seed 6 of 'learned', allowed: 2"),
        (HEADER + "td3,X-v0,test,9,0,0,1\n", "meta-training seed 9 of 'td3', allowed: 1 from 7"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "curves.csv"
    file.write_text(content)
    with pytest.raises(UsageError) as refused:
        read_kept_curves(file, conditions(tmp_path), first_seed=7)
    assert str(refused.value).startswith("curves: got ")
    assert message in str(refused.value)


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--recipe", str(ROOT / "experiments" / "recipes" / "cheap_family.yaml")]
    words += ["--curves", str(tmp_path / "none.csv"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(["experiment", *words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: curves: got ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("recipe_name", "scale", "name"), KEPT)
def test_the_kept_tables_follow_from_the_kept_curves(
    recipe_name: str, scale: str, name: str, tmp_path: Path
) -> None:
    recipe = read_recipe(ROOT / "experiments" / "recipes" / f"{recipe_name}.yaml", scale)
    whole = plan(recipe, tmp_path, list(recipe.variants))
    file, first = ROOT / "results" / f"{name}_curves.csv", recipe.scale.first_meta_seed
    results = read_kept_curves(file, whole.conditions, first)
    made = values(to_csv(results, overalls(results)).splitlines())
    kept = values((ROOT / "results" / f"{name}.csv").read_text().splitlines())
    assert made.keys() == kept.keys()
    for key, numbers in kept.items():
        # Returns are kept to two or three decimals.
        assert made[key] == pytest.approx(numbers, rel=0.01, abs=0.01), key


def values(lines: list[str]) -> dict[tuple[str, ...], list[float]]:
    """The value and the ends of its interval, by what it is of."""
    rows = csv.DictReader(lines)
    what = ("set", "environment", "rule", "number", "statistic")
    ends = ("value", "low", "high")
    return {tuple(r[n] for n in what): [float(r[n]) for n in ends if r[n]] for r in rows}
