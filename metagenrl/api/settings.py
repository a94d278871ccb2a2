"""Settings of the caller's process that a run must neither obey nor change."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def settings_of_its_own() -> Iterator[None]:
    """Torch's and numpy's defaults within it; afterwards everything is as the caller had it.

    Torch's default dtype and device, autocast and threads; what numpy does about overflow; the
    state of `random`; the level of our loggers.
    """
    dtype, threads, state = torch.get_default_dtype(), torch.get_num_threads(), random.getstate()
    logger = logging.getLogger("metagenrl")
    level = logger.level
    # A device that is set makes every torch function take a detour through Python.
    plain = torch.get_default_device().type == "cpu"
    device = contextlib.nullcontext() if plain else torch.device("cpu")
    torch.set_default_dtype(torch.float32)
    try:
        with (
            device,
            torch.autocast("cpu", enabled=False),
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        random.setstate(state)
        logger.setLevel(level)
