"""Rewards on the scale of one: what on-policy critics and step sizes are tuned for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.wrappers.utils import RunningMeanStd

_BOUND = 10.0
_EPSILON = 1e-8


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return.

    The usual treatment in continuous control (Engstrom et al. 2020, section 3): rewards are not
    centred, so their sign and a constant reward keep their meaning. Clipped to +-10.
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma
        self.statistics: Any = RunningMeanStd(shape=())
        self.discounted = 0.0

    def __call__(self, reward: float, ended: bool) -> float:
        """The scaled reward; `ended`: the episode's last one."""
        self.discounted = self.gamma * self.discounted + reward
        self.statistics.update(np.array([self.discounted]))
        self.discounted = 0.0 if ended else self.discounted
        scaled = reward / math.sqrt(float(self.statistics.var) + _EPSILON)
        return max(-_BOUND, min(_BOUND, scaled))

    def state_dict(self) -> dict[str, Any]:
        """The statistics and the running episode's return."""
        s = self.statistics
        return {
            "mean": float(s.mean),
            "var": float(s.var),
            "count": float(s.count),
            "discounted": self.discounted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.statistics.mean = np.float64(state["mean"])
        self.statistics.var = np.float64(state["var"])
        self.statistics.count = float(state["count"])
        self.discounted = float(state["discounted"])
