"""The algorithms of `metagenrl baseline`: their names and what tells them apart.

A new one is a name, a line here and, in `trainees.py`, the function that makes its agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Algorithm = Literal["td3", "ddpg", "reinforce-off", "reinforce", "ppo", "rl2", "epg"]


@dataclass(frozen=True)
class Traits:
    """What the command line has to know of an algorithm."""

    single_transitions: bool = False
    """Can learn from single transitions as well as from segments."""
    on_policy: bool = False
    """Learns from rollouts of `rollout_steps`."""
    meta_learner: bool = False
    """Has two phases: `baseline --phase train` in several environments, then `test`."""
    own_options: bool = False
    """Its meta-training takes options of its own: see `main.META_LEARNERS`."""


TRAITS: dict[Algorithm, Traits] = {
    "td3": Traits(single_transitions=True),
    "ddpg": Traits(single_transitions=True),
    "reinforce-off": Traits(),
    "reinforce": Traits(on_policy=True),
    "ppo": Traits(on_policy=True),
    "rl2": Traits(on_policy=True, meta_learner=True),
    "epg": Traits(meta_learner=True, own_options=True),
}
