"""Outputs that are closed or full, and terminals that are not UTF-8, as processes of their own."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = [sys.executable, "-m", "metagenrl.commands.main"]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["objective", "list"]])
def test_a_closed_pipe_ends_quietly(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([*MAIN, *words], stdout=writer, stderr=subprocess.PIPE, timeout=300)
    finally:
        os.close(writer)
    assert ended.stderr == b""
    assert ended.returncode == 141


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["objective", "list"]])
def test_a_full_device_is_one_line(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([*MAIN, *words], stdout=full, stderr=subprocess.PIPE, timeout=300)
        silent = subprocess.run([*MAIN, *words], stdout=full, stderr=full, timeout=300)
    line = "error: standard output: no space left on device; its text is lost from here on\n"
    assert (ended.returncode, ended.stderr.decode()) == (1, line)
    assert silent.returncode == 1


def test_developer_mode_finds_no_file_left_open() -> None:
    words = [sys.executable, "-X", "dev", "-m", "metagenrl.commands.main", "objective", "list"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0
    assert "ResourceWarning" not in ended.stderr


@pytest.mark.parametrize("closed", ["<&- >&-", ">&-", ">&- 2>&- <&-"])
def test_a_closed_output_changes_no_answer(closed: str) -> None:
    for words, code in ((["train", "--help"], 0), (["trian"], 2)):
        line = f"exec {shlex.join([*MAIN, *words])} {closed}"
        assert subprocess.run(["sh", "-c", line], timeout=300).returncode == code


@pytest.mark.parametrize("columns", ["0", "1", "3", "-5", "x"])
def test_help_ends_in_a_terminal_of_any_width(columns: str) -> None:
    ended = subprocess.run(
        [*MAIN, "record", "--help"],
        stdout=subprocess.PIPE,
        env=os.environ | {"COLUMNS": columns},
        timeout=300,
    )
    assert ended.returncode == 0
    assert b"--max-steps" in ended.stdout


@pytest.mark.parametrize(("flags", "out"), [([], ""), (["-u"], "out\n")])
def test_a_line_is_written_when_python_would_write_it(flags: list[str], out: str) -> None:
    script = """
import os, sys
from metagenrl.commands.shell import streams
streams.make_lasting()
print("out")
print("err", file=sys.stderr)
os._exit(0)
"""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        [sys.executable, *flags, "-c", script], env=env, capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == (out, "err\n")


def test_few_descriptors_are_enough_to_answer() -> None:
    limit = shlex.join([*MAIN, "objective", "list"])
    ended = subprocess.run(
        ["sh", "-c", f"ulimit -n 10; exec {limit}"], capture_output=True, timeout=300
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"pretrained" in ended.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["test", "--objective", "random", "--env", "Pendulum-v1", "--run-dir", "run"],
        ["baseline", "--env", "Pendulum-v1", "--run-dir", "ABOVE/run"],
        ["train", "--engine", "inprocess", "--run-dir", "ABOVE/run"],
        ["report", "ABOVE"],
    ],
)
def test_a_removed_working_directory_is_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    line = shlex.join([*MAIN, *(word.replace("ABOVE", str(tmp_path)) for word in words)])
    ended = subprocess.run(
        ["sh", "-c", f"rmdir ../gone; exec {line}"],
        capture_output=True,
        cwd=tmp_path / "gone",
        timeout=300,
    )
    refusal = "error: working directory: got one that was removed, allowed: one that exists"
    assert ended.stderr.decode() == f"{refusal} (cd to it)\n"
    assert ended.returncode == 2
    assert list(tmp_path.iterdir()) == []


SHORT = (
    "train --engine inprocess --envs Pendulum-v1 --agents 2 --steps 24 --wandb disabled "
    "--hidden-units 8 --batch-size 4 --learning-starts 20 --random-steps 20 --lifetime 0"
)


def test_training_outlasts_its_words(tmp_path: Path) -> None:
    line = shlex.join([*MAIN, *SHORT.split(), "--run-dir", str(tmp_path / "full")])
    with open("/dev/full", "wb") as full:
        assert (
            subprocess.run(shlex.split(line), stdout=full, stderr=full, timeout=300).returncode == 0
        )
    assert list((tmp_path / "full" / "checkpoints").glob("round-*"))
    assert "lost" not in (tmp_path / "full" / "run.log").read_text()


def test_training_ends_where_nobody_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    reader, writer = os.pipe()
    os.close(reader)
    words = [*MAIN, *SHORT.split(), "--run-dir", str(folder)]
    ended = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, timeout=300)
    os.close(writer)
    assert ended.returncode == 141
    assert b"Traceback" not in ended.stderr
    assert not (folder / "run.lock").exists()


def test_a_terminal_that_is_not_utf_8_gets_plain_letters(tmp_path: Path) -> None:
    plain = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    shown = subprocess.run([*MAIN, "train", "--help"], env=plain, capture_output=True, timeout=300)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.isascii()
    wrong = [
        "train",
        "--envs",
        "Pendulum-v1",
        "--run-dir",
        str(tmp_path / "é…"),
        "--steps",
        "\N{MINUS SIGN}",
    ]
    refused = subprocess.run([*MAIN, *wrong], env=plain, capture_output=True, timeout=300)
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"error: ")
    assert refused.stderr.count(b"\n") == 1
