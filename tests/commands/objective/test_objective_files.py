"""Objectives that come with the package, and the card of one's own."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from metagenrl.commands.main import main
from metagenrl.objective_server.snapshots import pretrained
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import training_file_of

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "v0.1"
Run = Callable[..., int]


@pytest.fixture
def written(tmp_path: Path, run: Run) -> Path:
    """The files of a small objective, with the scores of its tests."""
    out = tmp_path / "card"
    words = ["--version", "last", "--name", "small", "--tests", GOLDEN / "test", GOLDEN / "td3"]
    more = ["--selection", "by hand", "--limits", "anything", "--commit", "abc123"]
    assert run("objective", "card", GOLDEN / "inprocess", "--out", out, *words, *more) == 0
    return out


@pytest.fixture
def shipped(tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as an objective of the package, under the name `resampled`."""
    folder = tmp_path / "package"
    folder.mkdir()
    for suffix in ("safetensors", "yaml"):
        shutil.copy(written / f"small.{suffix}", folder / f"resampled.{suffix}")
    shutil.copy(written / "README.md", folder / "resampled.md")
    monkeypatch.setattr(pretrained, "_folder", lambda: folder)
    return folder


def test_a_card_says_all_that_there_is_to_know(written: Path) -> None:
    text = (written / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    snapshot = ObjectiveSnapshot.load(written / "small.safetensors")
    assert facts["license"] == "apache-2.0"
    assert facts["library_name"] == "metagenrl"
    assert facts["metagenrl"]["checksum"] == snapshot.checksum
    assert facts["metagenrl"]["environments"] == ["Pendulum-v1", "InvertedDoublePendulum-v5"]
    assert (facts["metagenrl"]["steps"], facts["metagenrl"]["seed"]) == (400, 0)
    (result,) = facts["model-index"][0]["results"]
    assert result["dataset"]["name"] == "InvertedPendulum-v5"
    assert {m["name"]: m["value"] for m in result["metrics"]} == {
        "area, 2 agents": 3.75, "late, 2 agents": 3.0,
    }  # fmt: skip
    for part in (
        "by hand", "- anything", "commit abc123", "objective.normalization td", "licence",
        "| InvertedPendulum-v5 | test | td3", "3.75 (0.573 … 6.93)", snapshot.checksum,
    ):  # fmt: skip
        assert part in body, part


def test_agents_that_failed_have_no_result(tmp_path: Path, run: Run) -> None:
    """Nor does the first evaluation count, which is of a policy that has not learned."""
    tests = tmp_path / "tests"
    shutil.copytree(GOLDEN / "test", tests / "own")
    shutil.copytree(GOLDEN / "td3", tests / "td3")
    for folder in tests.iterdir():
        shutil.rmtree(folder / "seeds", ignore_errors=True)
        file = folder / "evaluations.jsonl"
        rows = [row for row in file.read_text().splitlines() if '"steps": 0' in row]
        if folder.name == "td3":
            rows = [row for row in file.read_text().splitlines() if '"seed": 0' in row] + rows[1:]
        file.write_text("\n".join(rows) + "\n")
    words = ["--version", "last", "--out", tmp_path / "card", "--tests", tests]
    assert run("objective", "card", GOLDEN / "inprocess", *words) == 0
    _, front, body = (tmp_path / "card" / "README.md").read_text().split("---\n", 2)
    assert "model-index" not in yaml.safe_load(front)
    rows = [line for line in body.splitlines() if line.startswith("| InvertedPendulum-v5")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[2] for row in cells] == ["learned objective v52", "td3"]
    assert cells[0][4:] == ["-", "-", "0 (2 more failed)"]
    assert cells[1][6] == "1 (1 more failed)"
    assert cells[1][5] != "-"


def test_results_of_another_objective_are_not_this_ones(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(GOLDEN / "test", other)
    snapshot = ObjectiveSnapshot.load(other / "objective.safetensors")
    replace(snapshot, alpha=snapshot.alpha + 1).save(other / "objective.safetensors")
    shutil.copy(GOLDEN / "test" / "objective.json", other)  # `save` has written its own
    words = ["--version", "last", "--out", tmp_path / "card", "--tests", other, GOLDEN / "td3"]
    assert run("objective", "card", GOLDEN / "inprocess", *words) == 2
    assert "at least one test of the card's objective" in capsys.readouterr().err
    assert not (tmp_path / "card").exists()
    assert run("objective", "card", GOLDEN / "inprocess", *words, GOLDEN / "test") == 0
    _, front, body = (tmp_path / "card" / "README.md").read_text().split("---\n", 2)
    (listed,) = yaml.safe_load(front)["model-index"]
    assert len(listed["results"]) == 1
    assert body.count("learned objective v52 (objective=") == 2, "beside this one it may stand"


def test_the_files_stand_alone(written: Path) -> None:
    file = written / "small.safetensors"
    original = ObjectiveSnapshot.load(find_snapshot(GOLDEN / "inprocess", "last"))
    assert ObjectiveSnapshot.load(file).checksum == original.checksum
    training = training_file_of(file)
    assert training == written / "small.yaml"
    config = stored_config(TrainConfig, training)
    assert config.agent == stored_config(TrainConfig, GOLDEN / "inprocess" / "config.yaml").agent
    assert config.run_dir == Path("runs/small")


def test_a_name_stands_for_an_objective_of_the_package(
    shipped: Path, started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("pretrained", "pretrained:resampled"):
        main(["test", "--objective", word, "--env", "Pendulum-v1", "--run-dir", "out"])
        config = started.pop()
        assert config.objective == word
        assert config.agent.hidden_units == 8  # of its meta-training, from the file beside it
        assert config.architecture.lstm_units == 4
    assert find_snapshot(Path("pretrained")) == shipped / "resampled.safetensors"
    main(["objective", "show", "pretrained:resampled"])
    assert "Pendulum-v1, InvertedDoublePendulum-v5" in capsys.readouterr().out


def test_the_list_shows_cards(
    shipped: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("objective", "list") == 0
    out = capsys.readouterr().out
    assert "pretrained:resampled (or pretrained): version 52, 400 steps in 2 environments" in out
    assert str(shipped / "resampled.md") in out
    assert "# small" not in out
    assert run("objective", "list", "--cards") == 0
    assert "# small" in capsys.readouterr().out
    monkeypatch.setattr(pretrained, "_folder", lambda: shipped / "nothing")
    assert run("objective", "list") == 0
    assert "no objective comes with this installation" in capsys.readouterr().out


def test_a_run_folder_around_changes_nothing(shipped: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(GOLDEN / "inprocess")  # a run, whose configuration must not be taken
    assert training_file_of(Path("pretrained")) == shipped / "resampled.yaml"


@pytest.mark.parametrize("name", ["other", ""])
@pytest.mark.parametrize("command", ["test --run-dir x --env Pendulum-v1 --objective", "explain"])
def test_a_name_that_is_not_there_lists_what_is(
    command: str, name: str, shipped: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command.split(), f"pretrained:{name}") == 2
    err = capsys.readouterr().err
    assert f"pretrained objective {name!r} is not there; there: pretrained:resampled" in err
    assert err.count("\n") == 1


def test_bad_cards_are_refused(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    card = ["objective", "card", GOLDEN / "inprocess", "--out", out]
    for words, message in (
        (["--name", "a/b"], "name: got 'a/b'"),
        (["--tests", tmp_path], "runs: got"),
        (["--study", tmp_path / "none.md"], "study: got"),
        (["--version", "7"], "no objective snapshot '7'"),
    ):
        assert run(*card, *words) == 2
        assert message in capsys.readouterr().err
    untrained = tmp_path / "untrained.safetensors"
    replace(ObjectiveSnapshot.load(find_snapshot(GOLDEN / "inprocess", "last")), version=0).save(
        untrained
    )
    assert run("objective", "card", untrained, "--out", out) == 2
    assert "(version 0, which has learned nothing)" in capsys.readouterr().err
    assert not out.exists()


def test_what_another_has_written_stays(
    tmp_path: Path, written: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--version", "last", "--name", "small"]
    card = ["objective", "card", GOLDEN / "inprocess", *words, "--out"]
    assert run(*card, written) == 0, "a card may be written again"
    for name in ("README.md", "small.safetensors", "small.yaml"):
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        (folder / name).write_text("years of work")
        assert run(*card, folder) == 2
        assert f"(its {name} is not of this command)" in capsys.readouterr().err
        assert (folder / name).read_text() == "years of work"


def test_shipped_objectives_are_whole() -> None:
    """Those of the repository: each with a card that names its checksum, and its training."""
    for name in pretrained.pretrained_names():
        file = pretrained.pretrained_file(f"pretrained:{name}")
        snapshot = ObjectiveSnapshot.load(file)
        snapshot.require_known(file)
        card = pretrained.card_of(name).read_text(encoding="utf-8")
        assert (
            yaml.safe_load(card.split("---\n", 2)[1])["metagenrl"]["checksum"] == snapshot.checksum
        )
        config = stored_config(TrainConfig, file.with_suffix(".yaml"))
        assert {**snapshot.complete_config} == vars(config.objective)
