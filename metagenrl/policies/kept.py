"""A trained policy as a file: a deterministic network, and the facts of its environment.

One safetensors file; nothing in it can run code. Its network is `hidden` layers (linear,
activation, layer norm where there are `gamma{i}`), then a linear layer:

    relu   ReLU and layer norm, tanh at the end (ours)
    tanh   tanh, observations (s - filter_mean) / filter_std, actions clipped to [-1, 1] (PPO, EPG)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metagenrl.agents.environment.make import close_environment, make_environment
from metagenrl.base.files.atomic import read_bytes, write_atomic
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.base.files.tensors import parse_tensors, tensor_chunks
from metagenrl.base.messages import Array
from metagenrl.base.release import RELEASE

FORMAT = 1
SUFFIX = ".actor.safetensors"
_METADATA = "metagenrl_policy"


@dataclass(frozen=True, kw_only=True)
class PolicyFacts:
    """The facts of a policy and of the environment that it acts in."""

    label: str  # what trained it
    env: str
    seed: int
    steps: int  # environment steps that it trained for
    observation_size: int  # O, after flattening
    action_size: int  # A, after flattening
    action_low: tuple[float, ...]  # [A], what the policy's -1 means
    action_high: tuple[float, ...]  # [A], what its 1 means
    max_episode_steps: int | None
    release: str = RELEASE


@dataclass(frozen=True, eq=False)
class KeptPolicy:
    """A policy's network and facts."""

    facts: PolicyFacts
    arrays: Mapping[str, Array] = field(repr=False)  # w{i} [in, out], b{i}, ..., w_out, b_out

    @property
    def hidden(self) -> int:
        """Hidden layers."""
        return sum(name[0] == "w" and name[1:].isdecimal() for name in self.arrays)

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all. Raises `OSError` on a full disk."""
        body = json.dumps({"format": FORMAT, **asdict(self.facts)}, sort_keys=True)
        write_atomic(path, tensor_chunks(dict(self.arrays), {_METADATA: body}), durable=True)

    @staticmethod
    def load(path: Path) -> KeptPolicy:
        """Undo `save`. Raises `CorruptFile` and `FutureFormat`."""
        arrays, metadata = parse_tensors(read_bytes(path), path)
        try:
            facts: dict[str, Any] = json.loads(metadata[_METADATA])
            found = int(facts.pop("format"))
            if found > FORMAT:
                raise FutureFormat(path, found, FORMAT)
            for name in ("action_low", "action_high"):
                facts[name] = tuple(facts[name])
            return KeptPolicy(PolicyFacts(**facts), arrays)
        except FutureFormat:
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise CorruptFile(path, f"not a policy: {error!r}") from None


def facts_of(label: str, env_id: str, seed: int, steps: int) -> PolicyFacts:
    """The facts of a policy in an environment, which is made and closed for it."""
    env, spec = make_environment(env_id)
    space: Any = env.action_space
    bounds = (tuple(map(float, np.reshape(x, -1))) for x in (space.low, space.high))
    low, high = bounds
    close_environment(env, env_id)
    return PolicyFacts(
        label=label,
        env=env_id,
        seed=seed,
        steps=steps,
        observation_size=spec.observation_size,
        action_size=spec.action_size,
        action_low=low,
        action_high=high,
        max_episode_steps=spec.max_episode_steps,
    )


def policy_path(seeds: Path, seed: int) -> Path:
    """Where the policy of an agent that trained alone lies."""
    return seeds / f"seed-{seed}{SUFFIX}"
