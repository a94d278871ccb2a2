"""Two environments that look alike: one pays for positive actions, the other for negative ones.

The pay of an episode comes with its last step, so that within the next episode only memory tells
which environment this is.
"""

from typing import Any

import gymnasium
import numpy as np

STEPS = 4  # of an episode
ENVS = ("PaysUp-v0", "PaysDown-v0")


class DelayedBandit(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, sign: float) -> None:
        self.sign, self.total, self.t = sign, 0.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.total, self.t = 0.0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.total += self.sign * float(action[0])
        self.t += 1
        over = self.t == STEPS
        return np.zeros(1, np.float32), self.total if over else 0.0, over, False, {}


for _env, _sign in zip(ENVS, (1.0, -1.0), strict=True):
    gymnasium.register(_env, entry_point=DelayedBandit, kwargs={"sign": _sign})
