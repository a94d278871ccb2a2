"""Pipes that are closed, and terminals that are not UTF-8, as processes of their own."""

import os
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
    assert ended.returncode != 0


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
