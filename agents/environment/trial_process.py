"""Tries environments in a process of their own, which they may end or leave in any condition."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

import gymnasium

from metagenrl.agents.environment.limits import START_TIMEOUT
from metagenrl.agents.environment.make import EnvironmentFacts, check_environment, resolved
from metagenrl.agents.environment.refusal import in_words, kind_and_words
from metagenrl.agents.environment.spec import EnvironmentSpec
from metagenrl.agents.environment.trial import Tried, try_here
from metagenrl.agents.environment.trial_answers import (
    CLOSED_EXIT,
    Died,
    closes_descriptors,
    how_it_ended,
    last_line,
    until_newline,
)
from metagenrl.base.descriptors import far_copy
from metagenrl.base.job_process import kill_session
from metagenrl.base.outputs import leads_to
from metagenrl.base.process import TRIAL, refuse_within_a_trial


def try_environments(texts: Iterable[str], timeout: float = START_TIMEOUT) -> dict[str, Tried]:
    """The result of each environment's trial.

    Gymnasium's own environments are only made, unless they have arguments or wrappers. Others take
    some steps in another process, or in this one where only it has them registered. Raises
    `ValueError` of one line, also where an environment ends that process or takes longer than
    `timeout` seconds.
    """
    refuse_within_a_trial("metagenrl")
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
    if _is_local(text):
        return dataclasses.replace(try_here(text), local=True)
    facts, name = check_environment(text), resolved(text)
    return Tried(name, dataclasses.replace(facts, env_id=name))


def _is_local(text: str) -> bool:
    """Whether it is registered with an object, which no other process has."""
    known = gymnasium.registry.get(EnvironmentSpec.of(resolved(text)).id)
    return known is not None and not isinstance(known.entry_point, str)


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
        except Died as death:
            raise ValueError(f"{death}{last_line(output)}") from None
        finally:
            kill_session(process)  # with whatever the environment has started


def _start(texts: list[str], pipe: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    # What can be imported here can be there: environments may live in the user's own modules.
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    code = "from metagenrl.agents.environment.trial_process import main; main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(pipe), *texts],
        stdin=subprocess.DEVNULL,  # an environment that asks something gets no answer
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=[pipe],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", TRIAL: "1"},
        start_new_session=True,
    )


def _answers(
    texts: list[str], process: subprocess.Popen[bytes], pipe: Any, timeout: float
) -> dict[str, Tried]:
    found: dict[str, Tried] = {}
    for text in texts:
        line = b"".join(until_newline(text, pipe, timeout))
        if not line.endswith(b"\n"):
            raise Died(how_it_ended(text, process))
        try:
            answer = json.loads(line)
        except ValueError:
            raise ValueError(
                f"environment: got {text!r}, which changes `json` so that its trial cannot "
                "answer, allowed: one that leaves Python's own modules as they are"
            ) from None
        if answer is None:  # registered by what runs here, and only here
            found[text] = dataclasses.replace(try_here(text), local=True)
            continue
        if "error" in answer:
            raise ValueError(answer["error"])
        facts = EnvironmentFacts(**answer.pop("facts"))
        found[text] = Tried(facts=facts, **answer)
        _TRIED[found[text].text] = facts
    return found


def _is_registered(text: str) -> bool:
    """Whether this process knows the environment, or can once it has imported a module."""
    env_id = EnvironmentSpec.of(resolved(text)).id
    return ":" in env_id or env_id in gymnasium.registry


def main() -> None:
    """The process: a line of JSON for each environment, to the pipe that the arguments name."""
    given, *texts = sys.argv[1:]
    pipe = int(given)
    place = os.fstat(pipe)
    # The copy answers where the environment has closed the low number.
    with open(far_copy(pipe), "wb", buffering=0) as answers:
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
            if not leads_to(pipe, place):
                answer = {"error": closes_descriptors(text)}
            if not leads_to(answers.fileno(), place):
                os._exit(CLOSED_EXIT)
            answers.write(json.dumps(answer).encode() + b"\n")
    os._exit(0)  # whatever threads the environments have left
