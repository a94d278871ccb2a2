"""Tries environments in a process of their own, which they may end or leave in any condition."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

import gymnasium

from metagenrl.agents.environment.limits import START_TIMEOUT
from metagenrl.agents.environment.make import EnvironmentFacts, check_environment, resolved
from metagenrl.agents.environment.refusal import in_words, kind_and_words
from metagenrl.agents.environment.spec import EnvironmentSpec
from metagenrl.agents.environment.trial import Tried, try_here

PATIENCE = 10.0
"""Seconds after which the user is told what is waited for."""


def try_environments(texts: Iterable[str], timeout: float = START_TIMEOUT) -> dict[str, Tried]:
    """The result of each environment's trial.

    Gymnasium's own environments are only made, unless they have arguments or wrappers. Others take
    some steps in another process, except those that were registered in this one with an object
    that no other process has. Raises `ValueError` of one line, also where an environment ends that
    process or takes longer than `timeout` seconds.
    """
    wanted = list(dict.fromkeys(texts))
    found = {text: _kept[text] for text in wanted if text in _kept}
    new = [text for text in wanted if text not in found]
    foreign = [text for text in new if _is_foreign(text)]
    found |= {text: _known(text) for text in new if text not in foreign}
    found |= _in_process(foreign, timeout) if foreign else {}
    if _keeping:
        _kept.update(found)
    return found


_kept: dict[str, Tried] = {}
_keeping = False


@contextlib.contextmanager
def each_tried_once() -> Iterator[None]:
    """Within it no environment is tried twice: the commands of a study name the same ones."""
    global _keeping
    _keeping = True
    try:
        yield
    finally:
        _keeping = False
        _kept.clear()


_TRIED: dict[str, EnvironmentFacts] = {}


def facts_of(text: str) -> EnvironmentFacts:
    """What a trial in this process's name found, which may have taken long, else a look now.

    Raises as `check_environment`.
    """
    return _TRIED.get(text) or check_environment(text)


def _known(text: str) -> Tried:
    facts, name = check_environment(text), resolved(text)
    return Tried(name, dataclasses.replace(facts, env_id=name))


def _is_foreign(text: str) -> bool:
    try:
        spec = EnvironmentSpec.of(text)
    except ValueError as error:
        raise ValueError(f"environment: {error}") from None
    if any(not wrapper.startswith("gymnasium.") for wrapper in spec.wrappers):
        return True
    if ":" in spec.id:
        return True
    known = gymnasium.registry.get(EnvironmentSpec.of(resolved(text)).id)
    entry = "gymnasium." if known is None else known.entry_point
    varied = bool(spec.kwargs or spec.wrappers)  # an argument may be of a wrong type
    return isinstance(entry, str) and (varied or not entry.startswith("gymnasium."))


def _in_process(texts: list[str], timeout: float) -> dict[str, Tried]:
    ours, theirs = os.pipe()
    with tempfile.TemporaryFile() as output, open(ours, "rb", buffering=0) as answers:
        try:
            process = _start(texts, theirs, output)
        finally:
            os.close(theirs)
        try:
            return _answers(texts, process, answers, timeout)
        finally:
            with contextlib.suppress(OSError):  # with whatever the environment has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def _start(texts: list[str], pipe: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    # What can be imported here can be there: environments may live in the user's own modules.
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    code = "from metagenrl.agents.environment.trial_process import main; main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(pipe), *texts],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=[pipe],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def _answers(
    texts: list[str], process: subprocess.Popen[bytes], pipe: Any, timeout: float
) -> dict[str, Tried]:
    found: dict[str, Tried] = {}
    for text in texts:
        line = b"".join(_until_newline(text, pipe, timeout))
        if not line.endswith(b"\n"):
            raise ValueError(_died(text, process))
        answer = json.loads(line)
        if answer is None:  # registered by what runs here, and only here
            found[text] = _known(text)
            continue
        if "error" in answer:
            raise ValueError(answer["error"])
        facts = EnvironmentFacts(**answer.pop("facts"))
        found[text] = Tried(facts=facts, **answer)
        _TRIED[found[text].text] = facts
    return found


def _until_newline(text: str, pipe: Any, timeout: float) -> Iterator[bytes]:
    """The next line, byte by byte, or what there is of it where the process has ended."""
    begun, told = time.monotonic(), False
    while True:
        waited = time.monotonic() - begun
        if waited > timeout:
            raise ValueError(
                f"environment: got {text!r}, which takes longer than {timeout:g} s to be made, "
                "reset and stepped, allowed: less, or another --env-start-timeout"
            )
        if not told and waited > PATIENCE:
            told = True
            print(f"trying {text} (at most {timeout:g} s)", file=sys.stderr, flush=True)
        if select.select([pipe], [], [], 0.2)[0]:
            byte = pipe.read(1)
            yield byte
            if byte in (b"\n", b""):
                return


def _died(text: str, process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return (
        f"environment: got {text!r}, which ended its process {how} in its trial, allowed: one that "
        "raises exceptions"
    )


def _is_registered(text: str) -> bool:
    """Whether this process knows the environment, or can once it has imported a module."""
    env_id = EnvironmentSpec.of(resolved(text)).id
    return ":" in env_id or env_id in gymnasium.registry


def main() -> None:
    """The process: a line of JSON for each environment, to the pipe that the arguments name."""
    pipe, *texts = sys.argv[1:]
    with open(int(pipe), "wb", buffering=0) as answers:
        for text in texts:
            answer: dict[str, Any] | None
            try:
                answer = dataclasses.asdict(try_here(text)) if _is_registered(text) else None
            except ValueError as error:
                answer = {"error": in_words(error)}
            except Exception as error:  # of a part that we look at, such as a space
                answer = {
                    "error": f"environment: got {text!r}, which raises "
                    f"{kind_and_words(error)}, allowed: one that raises in reset() or step() alone"
                }
            answers.write(json.dumps(answer).encode() + b"\n")
    os._exit(0)  # whatever threads the environments have left
