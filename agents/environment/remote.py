"""Environments in worker processes, behind the interface of `Environment`.

A step can be begun and its answer taken later, so that the environments of many agents step at the
same time and beside the updates. Same random streams, same results as without workers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from metagenrl.agents.environment.environment import Array, StepResult
from metagenrl.agents.environment.limits import ANSWER_TIMEOUT, START_TIMEOUT
from metagenrl.agents.environment.worker_process import Answer, Call, Method
from metagenrl.agents.seeding import rng_state
from metagenrl.base.checks import require
from metagenrl.base.job_process import kill_session


@dataclass(frozen=True)
class Timeouts:
    """Seconds that an environment's process has for its answers."""

    answer: float = ANSWER_TIMEOUT
    """To a step or a reset."""
    start: float = START_TIMEOUT
    """To making an environment, its first reset, and replaying an episode."""


class WorkerLost(RuntimeError):  # noqa: N818 - reads as the event it is
    """The process of an environment died, or did not answer in time and was ended."""


class _Worker:
    """One process and the numbers of the environments that it has."""

    def __init__(self) -> None:
        self.environments: set[int] = set()
        self._answers: dict[int, Answer] = {}  # that came while another one was waited for
        self._lost: str | None = None
        self._pipe, theirs = Pipe()
        # What can be imported here can be there: environments may live in the user's own modules.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        # Not as `-m`: its messages would then be classes of `__main__`, which is another one here.
        code = "from metagenrl.agents.environment.worker_process import main; main()"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno())],
                stdin=subprocess.PIPE,  # never written to: that it closes tells that we ended
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C comes to us alone
            )

    @property
    def alive(self) -> bool:
        return self._lost is None and self._process.poll() is None

    def send(self, call: Call) -> None:
        """Give out a call. That the process is gone shows when the answer is asked for."""
        try:
            self._pipe.send(call)
        except OSError as error:
            self._end(f"it died ({error})")

    def answer(self, environment: int, timeout: float) -> Answer:
        """The answer to the one call that this environment was given. Raises `WorkerLost`."""
        while environment not in self._answers:
            if self._lost is not None:
                raise WorkerLost(f"the process of an environment is gone: {self._lost}")
            self._receive(timeout)
        return self._answers.pop(environment)

    def _receive(self, timeout: float) -> None:
        try:
            if not self._pipe.poll(timeout):
                self._end(f"no answer for {timeout:g} s (--env-timeout, --env-start-timeout)")
                return
            answer: Answer = self._pipe.recv()
        except (EOFError, OSError):
            self._end("it died")
            return
        self._answers[answer.environment] = answer

    def _end(self, why: str) -> None:
        self._lost = self._lost or why
        kill_session(self._process)
        self._pipe.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def end(self) -> None:
        """End the process."""
        self._end("it was ended")


class EnvWorkers:
    """At most `count` processes, started when there are environments for them."""

    def __init__(self, count: int, timeouts: Timeouts | None = None) -> None:
        require(count >= 1, "env_workers", count, "a whole number >= 1")
        self._count, self._made, self._timeouts = count, 0, timeouts or Timeouts()
        self._workers: list[_Worker] = []

    def environment(self, env_id: str, rng: np.random.Generator) -> RemoteEnvironment:
        """A new environment in the process that has the fewest; raises as `Environment` does."""
        self._workers = [worker for worker in self._workers if worker.alive]
        if len(self._workers) < self._count:
            self._workers.append(_Worker())
        worker = min(self._workers, key=lambda worker: len(worker.environments))
        self._made += 1
        return RemoteEnvironment(worker, self._made, env_id, rng, self._timeouts)


class RemoteEnvironment:
    """See `Environment`; `rng` moves to the process and comes back with `state_dict`."""

    def __init__(
        self,
        worker: _Worker,
        number: int,
        env_id: str,
        rng: np.random.Generator,
        timeouts: Timeouts,
    ) -> None:
        self._worker, self._number, self.env_id = worker, number, env_id
        self._timeouts, self._begun, self._fresh = timeouts, False, True
        worker.environments.add(number)
        try:
            self._call("make", env_id, rng_state(rng), timeout=timeouts.start)
        except Exception:
            self._leave()
            raise
        self.observation_size = self.facts.observation_size
        self.action_size = self.facts.action_size

    def reset(self) -> Array:
        """See `Environment`."""
        timeout = self._timeouts.start if self._fresh else self._timeouts.answer
        observation: Array = self._call("reset", timeout=timeout)
        self._fresh = False
        return observation

    def begin(self, action: ArrayLike) -> None:
        """Let the environment take this action; `step` with it then waits for what comes of it."""
        self._worker.send(Call(self._number, "step", (action,)))
        self._begun = True

    def step(self, action: ArrayLike) -> StepResult:
        """See `Environment`; with the action that was begun, if one was."""
        if not self._begun:
            self.begin(action)
        self._begun = False
        result: StepResult = self._take(self._timeouts.answer)
        return result

    def abandon_episode(self) -> None:
        """See `Environment`."""
        self._call("abandon")

    def state_dict(self) -> dict[str, Any]:
        """See `Environment`."""
        state: dict[str, Any] = self._call("state")
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Environment`."""
        self._call("load", state, timeout=self._timeouts.start)

    def close(self) -> None:
        """See `Environment`; the process ends with its last environment."""
        try:
            if self._worker.alive:
                self._call("close")
        finally:
            self._leave()

    def _leave(self) -> None:
        self._worker.environments.discard(self._number)
        if not self._worker.environments:
            self._worker.end()

    def _call(self, method: Method, *arguments: Any, timeout: float | None = None) -> Any:
        timeout = self._timeouts.answer if timeout is None else timeout
        if self._begun:  # its agent failed before it took the answer
            self._begun = False
            self._worker.answer(self._number, timeout)
        self._worker.send(Call(self._number, method, arguments))
        return self._take(timeout)

    def _take(self, timeout: float) -> Any:
        answer = self._worker.answer(self._number, timeout)
        self.observation = answer.observation
        self.episode_return = answer.episode_return
        self.episode_length = answer.episode_length
        if answer.facts is not None:
            self.facts = answer.facts
        if answer.error is not None:
            raise answer.error
        return answer.result
