"""What shells complete, asked of the shells themselves where they are there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metagenrl.commands.main import main
from metagenrl.commands.table import COMMANDS

ASK_BASH = """
source {script}
words=({words})
COMP_WORDS=(metagenrl "${{words[@]}}" "$1") COMP_CWORD=$((${{#words[@]}} + 1)) COMPREPLY=()
_tyro_metagenrl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ASK_ZSH = """
autoload -Uz compinit && compinit -u -d {script}.dump
source {script}
[[ $_comps[metagenrl] == _tyro_metagenrl ]] && print bound
"""


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The script for the shell that the test asks."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    main(["completion", shell])
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out)
    return path


def ran(*words: str) -> list[str]:
    """Lines of a command's output; the completer runs the first python3 on the path."""
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nonexistent"}
    return subprocess.run(
        words, env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def in_bash(script: Path, words: str, begun: str) -> list[str]:
    return ran("bash", "-c", ASK_BASH.format(script=script, words=words), "bash", begun)


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_options_and_values(script: Path) -> None:
    first = {name.split()[0] for name in COMMANDS}
    assert first <= set(in_bash(script, "", ""))
    assert {"show", "list", "card"} <= set(in_bash(script, "objective", ""))
    assert {"td3", "sac", "epg"} <= set(in_bash(script, "baseline --algo", ""))
    assert "paper" in in_bash(script, "train --preset", "p")
    # an option whose help has several lines is still one completion
    assert in_bash(script, "train", "--pre") == ["--precision", "--preset"]
    assert "--gamma" in in_bash(script, "test", "--gam")


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_itself_completes_files(script: Path) -> None:
    """Where the program knows nothing, not even an empty word."""
    assert in_bash(script, "status", "ru") == [""]  # printf's line of no reply
    shown = ran("bash", "-c", f"source {script}; complete -p metagenrl")
    assert shown == ["complete -o bashdefault -o default -F _tyro_metagenrl metagenrl"]
    count = "COMP_WORDS=(metagenrl status ru) COMP_CWORD=2; _tyro_metagenrl; echo ${#COMPREPLY[@]}"
    assert ran("bash", "-c", f"source {script}; COMPREPLY=(x); {count}") == ["0"]


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: Path) -> None:
    found = ran("fish", "-c", f"source {script}; complete -C 'metagenrl objective '")
    assert {"show", "list", "card"} <= {line.split("\t")[0] for line in found}


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_knows_who_completes(script: Path) -> None:
    assert ran("zsh", "-f", "-c", ASK_ZSH.format(script=script)) == ["bound"]
