"""The learned objective as it was last broadcast."""

from __future__ import annotations

import numpy as np
import torch
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective_net import ObjectiveNet
from metagenrl.learner.objectives import Learned
from metagenrl.learner.types import Array


class BroadcastObjective:
    """L_alpha for the newest alpha; the members of a cohort have one in common."""

    def __init__(self, config: ObjectiveConfig) -> None:
        self.net = ObjectiveNet(config)
        self.alpha = torch.zeros(self.net.layout.size)
        self.value = Learned(self.net, self.alpha)
        self._received: Array | None = None

    def receive(self, alpha: Array) -> None:
        """Go on with `alpha [P]`; the array received last, if nobody can change it, is known."""
        if alpha is self._received:
            return
        self.alpha.copy_(torch.from_numpy(np.array(alpha, np.float32)))
        self._received = None if alpha.flags.writeable else alpha
