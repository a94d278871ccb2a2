"""Random streams of one agent, a function of nothing but (run seed, agent, incarnation).

`numpy.random.SeedSequence` with the spawn key (agent, incarnation) gives every incarnation of
every agent its own independent streams, whatever the order in which agents start or come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metagenrl.base.checks import require

_BIT_GENERATOR = "PCG64"


@dataclass(frozen=True)
class AgentSeeds:
    """Independent streams of one incarnation of one agent; each has exactly one owner."""

    environment: np.random.Generator  # a seed per episode
    exploration: np.random.Generator  # random actions, Gaussian noise
    replay: np.random.Generator  # which segments are sampled
    initialisation: np.random.Generator  # a torch seed per life, see `draw_torch_seed`
    archive: np.random.Generator  # which earlier policies are kept and come back
    torch_seed: int  # for the torch.Generator of the updates (target policy smoothing)


def agent_seeds(run_seed: int, agent: int, incarnation: int) -> AgentSeeds:
    """Fresh streams of one agent's incarnation; the same arguments give the same streams.

    Raises `ValueError` where an argument is not an integer >= 0.
    """
    for field, value in (("seed", run_seed), ("agent", agent), ("incarnation", incarnation)):
        valid = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
        require(valid, field, value, "an integer >= 0")
    root = np.random.SeedSequence(int(run_seed), spawn_key=(int(agent), int(incarnation)))
    environment, exploration, replay, initialisation, updates, archive = (
        np.random.Generator(np.random.PCG64(child)) for child in root.spawn(6)
    )
    torch_seed = draw_torch_seed(updates)
    return AgentSeeds(environment, exploration, replay, initialisation, archive, torch_seed)


def draw_torch_seed(rng: np.random.Generator) -> int:
    """The next seed for `torch.Generator.manual_seed`, uniform over [0, 2^63)."""
    return int(rng.integers(2**63, dtype=np.uint64))


def rng_state(rng: np.random.Generator) -> dict[str, Any]:
    """The generator's complete state as JSON scalars.

    PCG64's two 128-bit integers become decimal strings: not every JSON reader keeps integers
    beyond 2^53. Raises `ValueError` for a bit generator other than PCG64 (numpy's default).
    """
    state = rng.bit_generator.state
    name = state["bit_generator"]
    require(name == _BIT_GENERATOR, "bit_generator", name, _BIT_GENERATOR)
    return {
        "bit_generator": name,
        "state": str(state["state"]["state"]),
        "inc": str(state["state"]["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def restore_rng(state: dict[str, Any]) -> np.random.Generator:
    """A new generator that goes on exactly where the one given to `rng_state` stood.

    Raises `ValueError` for a bit generator other than PCG64.
    """
    name = state["bit_generator"]
    require(name == _BIT_GENERATOR, "bit_generator", name, _BIT_GENERATOR)
    bit_generator = np.random.PCG64()
    bit_generator.state = {
        "bit_generator": name,
        "state": {"state": int(state["state"]), "inc": int(state["inc"])},
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }
    return np.random.Generator(bit_generator)
