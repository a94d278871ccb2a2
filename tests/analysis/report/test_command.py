"""The command line of `metagenrl report`."""

from pathlib import Path

import pytest

from metagenrl.commands.main import main
from metagenrl.commands.report import report_config


def test_the_page_goes_into_the_first_folder_unless_told_otherwise() -> None:
    assert report_config(["a", "b"]).folder == Path("a/report")
    config = report_config(["a", "--out", "x", "b"])
    assert (config.runs, config.folder) == ((Path("a"), Path("b")), Path("x"))


def test_the_command_says_where_the_page_is(
    train_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", str(train_run("run"))])
    path = tmp_path / "run" / "report" / "report.html"
    assert capsys.readouterr().out == f"report: {path}\n"
    assert path.is_file()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("report", "runs: got [], allowed: at least one folder"),
        ("report none", "runs: got 'none' (no such folder), allowed: folders of runs"),
        ("report .", "runs: got '.' (holds no run), allowed: folders of runs"),
        ("report . --preset small", "--preset: unknown option"),
    ],
)
def test_mistakes_are_one_line(line: str, complaint: str, refusal) -> None:
    assert refusal(line).startswith(complaint)


def test_a_file_in_the_way_is_refused(
    train_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["report", str(train_run("run")), "--out", str(tmp_path / "file")])
    assert caught.value.code == 2
    assert "(a file), allowed: a folder" in capsys.readouterr().err
